#!/usr/bin/env python3
"""A collector of traces for the tests: takes whatever is posted to it, and adds it to a file, one body a line.

    collector.py PORT FILE

canary.sh searches the file for what must not be there.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

PORT, FILE = int(sys.argv[1]), sys.argv[2]
LOCK = Lock()


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with LOCK, open(FILE, "ab") as kept:
            kept.write(body + b"\n")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Collector).serve_forever()
