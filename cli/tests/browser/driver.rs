//! A browser, by the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// How long something may take to be seen, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// The name under which the protocol gives elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) phone: bool,
    pub(crate) dark: bool,
}

/// On a desk and on a phone, light and dark.
pub(crate) const LOOKS: [Look; 4] = [
    Look { name: "desktop-light", width: 1280, height: 860, phone: false, dark: false },
    Look { name: "desktop-dark", width: 1280, height: 860, phone: false, dark: true },
    Look { name: "phone-light", width: 390, height: 844, phone: true, dark: false },
    Look { name: "phone-dark", width: 390, height: 844, phone: true, dark: true },
];

/// A browser with one window. Dropped, it is gone.
pub(crate) struct Browser {
    driver: Child,
    client: Client,
    /// Where its session is.
    session: String,
    process: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program = std::env::var("MUSTER_CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".into());
        let mut driver = Command::new(&program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: run deploy/local/browser.sh install"));
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.split_once("started successfully on port ")
                .map(|(_, port)| port.trim_matches(['.', ' ']).to_owned())
        });
        let base = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let client = Client::new();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--lang=en",
            "--force-color-profile=srgb",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({ "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let opened = ask(&client, Method::POST, &format!("{base}/session"), Some(wanted)).await;
        let id = opened["sessionId"].as_str().unwrap();
        Self {
            session: format!("{base}/session/{id}"),
            process: opened["capabilities"]["goog:processID"].as_u64().unwrap_or(0),
            driver,
            client,
            _profile: profile,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        ask(&self.client, method, &format!("{}{path}", self.session), body).await
    }

    /// Shows a page.
    pub(crate) async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", Some(json!({ "url": url }))).await;
    }

    /// The address of the page that is shown.
    pub(crate) async fn address(&self) -> String {
        self.ask(Method::GET, "/url", None).await.as_str().unwrap().to_owned()
    }

    /// Runs a script in the page, and gives what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.ask(Method::POST, "/execute/sync", Some(json!({ "script": script, "args": [] }))).await
    }

    /// What a link of the page leads to, asked for as the page's own user.
    pub(crate) async fn behind(&self, selector: &str) -> String {
        self.element(selector).await;
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             fetch(document.querySelector({}).href).then(answer => answer.text()).then(done)",
            json!(selector)
        );
        let text =
            self.ask(Method::POST, "/execute/async", Some(json!({ "script": script, "args": [] }))).await;
        text.as_str().unwrap().to_owned()
    }

    async fn tools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.ask(Method::POST, "/goog/cdp/execute", Some(body)).await
    }

    /// Waits until the script returns true.
    pub(crate) async fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.run(script).await != json!(true) {
            if Instant::now() > deadline {
                let text = self.run("return document.body.innerText").await;
                panic!("{what}: {}: {text}", self.address().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page says this.
    pub(crate) async fn until_says(&self, text: &str) {
        let script = format!("return document.body.innerText.includes({})", json!(text));
        self.until(&format!("the page says “{text}”"), &script).await;
    }

    async fn element(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({}) !== null", json!(selector));
        self.until(selector, &script).await;
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.ask(Method::POST, "/element", Some(body)).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks on what a selector finds.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.ask(Method::POST, &format!("/element/{element}/click"), Some(json!({}))).await;
    }

    /// Types into a field.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.ask(Method::POST, &format!("/element/{element}/value"), Some(json!({ "text": text }))).await;
    }

    /// Chooses one of the values of a list.
    pub(crate) async fn choose(&self, selector: &str, value: &str) {
        self.element(selector).await;
        let script = format!(
            "const list = document.querySelector({}); list.value = {}; \
             list.dispatchEvent(new Event('change', {{ bubbles: true }}))",
            json!(selector),
            json!(value)
        );
        self.run(&script).await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn keys(&self, keys: &str) {
        let presses: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
            })
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": presses }] });
        self.ask(Method::POST, "/actions", Some(body)).await;
    }

    pub(crate) async fn look(&self, look: Look) {
        let screen = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.phone });
        self.tools("Emulation.setDeviceMetricsOverride", screen).await;
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// A picture of the whole page.
    pub(crate) async fn picture(&self, file: &Path) {
        let shot = self
            .tools("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))
            .await;
        std::fs::write(file, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the page wrote on the console of the browser, or the browser about it.
    pub(crate) async fn said(&self) -> Vec<String> {
        let log = self.ask(Method::POST, "/se/log", Some(json!({ "type": "browser" }))).await;
        log.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What axe finds wrong with the page for people with a screen reader, a keyboard or weak eyes.
    pub(crate) async fn violations(&self) -> Vec<String> {
        let file = std::env::var("TEST_AXE")
            .expect("TEST_AXE is not set: run `deploy/local/browser.sh install`, and set what it prints");
        let axe = std::fs::read_to_string(file).unwrap();
        let script = format!(
            "const done = arguments[arguments.length - 1]; {axe}; \
             window.axe.run(document).then(found => done(found.violations.map(one => \
               one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | '))))"
        );
        let found =
            self.ask(Method::POST, "/execute/async", Some(json!({ "script": script, "args": [] }))).await;
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Closes the window and ends.
    pub(crate) async fn close(self) {
        self.ask(Method::DELETE, "", None).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // The browser is a process of its own, which an orderly end has ended already.
        if self.process > 0 {
            let _ = Command::new("kill")
                .arg("-KILL")
                .arg(self.process.to_string())
                .stderr(Stdio::null())
                .status();
        }
    }
}

async fn ask(client: &Client, method: Method, url: &str, body: Option<Value>) -> Value {
    let mut request = client.request(method, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(answer["value"]["error"].is_null(), "{url}: {}", answer["value"]);
    answer["value"].clone()
}
