//! `muster imports receipt` and `muster imports report --html`: the receipt and the report of an import that has ended.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use muster_domain::id::ImportId;
use muster_producer::api::{PROGRAM, ReportPage, report_page};
use muster_store::receipts::{self, Found};

use super::backend::Backend;
use super::local::Local;
use crate::client::Remote;
use crate::client::operations::{self, Operation};
use crate::failure::Exit;
use crate::output::stderr_line;

impl Backend<'_> {
    /// The signed receipt, byte by byte as it was signed.
    pub(super) async fn receipt(&self, id: ImportId) -> anyhow::Result<String> {
        match self {
            Self::Local(local) => local.receipt(id).await,
            Self::Remote(remote) => remote.text(&operations::IMPORTS_RECEIPT, id).await,
        }
    }

    /// The report as one page.
    pub(super) async fn report_page(&self, id: ImportId) -> anyhow::Result<String> {
        match self {
            Self::Local(local) => local.report_page(id).await,
            Self::Remote(remote) => remote.text(&operations::IMPORTS_REPORT, id).await,
        }
    }
}

impl Local<'_> {
    async fn receipt(&self, id: ImportId) -> anyhow::Result<String> {
        let store = &self.session.store;
        match receipts::read(store, self.tenant, id, PROGRAM).await? {
            Found::Receipt(receipt) => {
                receipts::key(store).await?.sign(&receipt).context("the receipt cannot be written")
            }
            Found::NotEnded(state) => bail!("import {id} is {state}: only one that has ended has a receipt"),
            Found::NotFound => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }

    async fn report_page(&self, id: ImportId) -> anyhow::Result<String> {
        match report_page(&self.session.store, self.tenant, id).await? {
            ReportPage::Html(page) => Ok(page),
            ReportPage::NotEnded(state) => {
                bail!("import {id} is {state}: only one that has ended has a report")
            }
            ReportPage::NotFound => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }
}

impl Remote {
    /// A text about an import, as it is.
    async fn text(&self, operation: &'static Operation<()>, id: ImportId) -> anyhow::Result<String> {
        let answer = self.send(self.request(&operation.at(&[&id]))).await?;
        answer.text().await.map_err(reqwest::Error::without_url).context("the answer cannot be read")
    }
}

/// Writes it, to a file or to standard output.
pub(super) fn write(text: &str, output: Option<&Path>, what: &str) -> anyhow::Result<Exit> {
    match output {
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Some(path) => {
            let shown = path.display();
            std::fs::write(path, text).with_context(|| format!("cannot write {shown}"))?;
            stderr_line(format_args!("{what} is in {shown}"));
        }
    }
    Ok(Exit::Done)
}
