//! The console as a browser meets it: cookies, forms, pages.

mod cases;
mod operators;
mod pages;
mod profiles;
mod sessions;
mod tokens;
mod webhooks;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, redirect};
use sha2::{Digest, Sha256};

use crate::harness::{Server, accepted};

/// A browser that keeps one session, and follows no redirect by itself.
struct Browser<'s> {
    server: &'s Server,
    client: Client,
    cookie: Option<String>,
}

/// What a browser was answered.
struct Shown {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Shown {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The secret of the forms of the page.
    fn form(&self) -> &str {
        self.hidden("form")
    }

    /// The value of a hidden field.
    fn hidden(&self, name: &str) -> &str {
        let mark = format!("name=\"{name}\" value=\"");
        let from = self.body.find(&mark).expect("the page has the field") + mark.len();
        self.body[from..].split('"').next().unwrap()
    }

    /// The cookie that was set last.
    fn cookie(&self) -> &str {
        let set = self.headers.get_all("set-cookie").iter().next_back().expect("a cookie is set");
        set.to_str().unwrap().split(';').next().unwrap()
    }
}

impl<'s> Browser<'s> {
    fn new(server: &'s Server) -> Self {
        let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { server, client, cookie: None }
    }

    async fn signed_in(server: &'s Server, token: &str) -> Self {
        let mut browser = Self::new(server);
        let shown = browser.sign_in(token).await;
        let to = shown.header("location");
        assert!(
            shown.status == 303 && to.starts_with("/console") && !to.contains("sign-in"),
            "{} {to}: {}",
            shown.status,
            shown.body
        );
        browser.cookie = Some(shown.cookie().to_owned());
        browser
    }

    async fn sign_in(&self, token: &str) -> Shown {
        let door = self.get("/console/sign-in").await;
        let fields = [("form", door.form()), ("then", "/console"), ("token", token)];
        self.send("/console/sign-in", &fields, Some(door.cookie())).await
    }

    async fn ask(&self, method: Method, path: &str, live: bool) -> Shown {
        let mut request = self.client.request(method, format!("{}{path}", self.server.url));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if live {
            request = request.header("muster-live", "1");
        }
        shown(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Shown {
        self.ask(Method::GET, path, false).await
    }

    async fn page(&self, path: &str) -> String {
        let shown = self.get(path).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.body);
        shown.body
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)], cookie: Option<&str>) -> Shown {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut request = self.client.post(format!("{}{path}", self.server.url));
        if let Some(cookie) = cookie.or(self.cookie.as_deref()) {
            request = request.header("cookie", cookie);
        }
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
        shown(request.send().await.unwrap()).await
    }

    /// The secret of forms of the session, whether a page shows it or not.
    fn secret(&self) -> String {
        let key = self.cookie.as_deref().unwrap().split_once('=').unwrap().1;
        let hash =
            Sha256::new().chain_update(b"forms of the console").chain_update(hex::decode(key).unwrap());
        hex::encode(hash.finalize())
    }

    /// Presses a button of a page.
    async fn press(&self, page: &str, path: &str) -> Shown {
        let form = self.get(page).await.form().to_owned();
        self.send(path, &[("form", &form)], None).await
    }

    /// Fills in a form of a page, and sends it.
    async fn fill(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Shown {
        let form = self.get(page).await.form().to_owned();
        self.send(path, &[&[("form", form.as_str())], fields].concat(), None).await
    }

    /// What the script of the page of a new import sends.
    async fn send_file(&self, path: &str, form: Option<&str>, file: &str) -> Shown {
        self.send_bytes(path, form, file.into()).await
    }

    async fn send_bytes(&self, path: &str, form: Option<&str>, file: Vec<u8>) -> Shown {
        let mut request = self.client.post(format!("{}{path}", self.server.url)).body(file);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(form) = form {
            request = request.header("muster-form", form);
        }
        shown(request.send().await.unwrap()).await
    }
}

async fn shown(response: reqwest::Response) -> Shown {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Shown { status, headers, body: response.text().await.unwrap() }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

async fn import(server: &Server, query: &str, body: &str) -> String {
    accepted(server.upload(query, body.to_owned())).await["id"].as_str().unwrap().to_owned()
}

async fn state(server: &Server, import: &str) -> String {
    server.json(&format!("/v1/imports/{import}")).await["state"].as_str().unwrap().to_owned()
}
