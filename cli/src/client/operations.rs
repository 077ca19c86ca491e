//! The operations of the API that commands use, each with what it takes and what it answers.

use std::fmt::Display;
use std::marker::PhantomData;

use muster_domain::request;
use muster_domain::user::User;
use muster_producer::api::{
    AuditList, BulkList, BulkView, ChunkList, DeliveryList, DeliveryView, ErasedView, ImportDetails,
    ImportList, PlanView, PlannedList, ProfileList, ProfileView, ReceiptKeyView, RecordList, UndoPreview,
    UserList, WebhookCreated, WebhookList, WebhookSecretView, WebhookView,
};
use muster_store::history::Page as HistoryPage;
use muster_store::problems::Problems;
use reqwest::Method;
use serde_json::Value;

use super::answers::Readiness;
use crate::view::View;

/// An operation; its answer is read as a `T`, or as it is where that is `()`.
pub(crate) struct Operation<T> {
    /// Its id in the description of the API.
    id: &'static str,
    method: Method,
    /// Its address, with `{names}` where something is put in.
    path: &'static str,
    /// The parameters of its query that commands give.
    parameters: &'static [&'static str],
    answer: PhantomData<fn() -> T>,
}

impl<T: 'static> Operation<T> {
    /// A call of an operation whose address is whole.
    pub(crate) fn call(&'static self) -> Call<T> {
        self.at(&[])
    }

    /// A call with `places` in its path, in order: ids and slugs, which need no escaping.
    pub(crate) fn at(&'static self, places: &[&dyn Display]) -> Call<T> {
        let (mut path, mut rest) = (String::new(), self.path);
        for place in places {
            let Some((before, after)) = rest.split_once('{') else { break };
            path.push_str(before);
            path.push_str(&place.to_string());
            rest = after.split_once('}').map_or("", |(_, after)| after);
        }
        path.push_str(rest);
        debug_assert!(!path.contains('{'), "{}: {path} is not whole", self.id);
        Call { operation: self, path, query: Vec::new(), body: None }
    }
}

/// An operation with what is asked of it.
#[must_use = "nothing is sent yet"]
pub(crate) struct Call<T: 'static> {
    operation: &'static Operation<T>,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl<T: 'static> Call<T> {
    /// The same with a parameter.
    pub(crate) fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        self.with_all([(name, value.into())])
    }

    /// The same with these parameters.
    pub(crate) fn with_all(mut self, parameters: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        for (name, value) in parameters {
            let Operation { id, parameters, .. } = self.operation;
            debug_assert!(parameters.contains(&name), "{id}: {name} is not among its parameters");
            self.query.push((name, value));
        }
        self
    }

    /// The same with a body.
    pub(crate) fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(super) fn method(&self) -> &Method {
        &self.operation.method
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn query(&self) -> &[(&'static str, String)] {
        &self.query
    }

    pub(super) fn body(&self) -> Option<&Value> {
        self.body.as_ref()
    }
}

macro_rules! answer {
    () => {
        ()
    };
    ($answer:ty) => {
        $answer
    };
}

/// Makes an operation of each row, and for the tests a list of them all.
macro_rules! operations {
    ($($name:ident = $id:literal: $method:ident $path:literal, $parameters:expr $(=> $answer:ty)?;)*) => {
        $(
            pub(crate) static $name: Operation<answer!($($answer)?)> = Operation {
                id: $id,
                method: Method::$method,
                path: $path,
                parameters: $parameters,
                answer: PhantomData,
            };
        )*

        #[cfg(test)]
        pub(super) fn rows() -> Vec<Row> {
            vec![$({
                let typed: &[Reads] = &[$(reads::<$answer>)?];
                let reads = typed.first().copied();
                Row { id: $name.id, method: &$name.method, path: $name.path, parameters: $name.parameters, reads }
            }),*]
        }
    };
}

operations! {
    IMPORTS_LIST = "imports_list": GET "/v1/imports", &["limit", "after", "state", "idempotency_key"] => ImportList;
    IMPORTS_CREATE = "imports_create": POST "/v1/imports", &request::NAMES => View;
    IMPORTS_SHOW = "imports_show": GET "/v1/imports/{id}", &[] => View;
    IMPORTS_DETAILS = "imports_show": GET "/v1/imports/{id}", &["details"] => ImportDetails;
    IMPORTS_RECORDS = "imports_records": GET "/v1/imports/{id}/records", &["after", "limit", "outcome", "code", "field"] => RecordList;
    IMPORTS_CHUNKS = "imports_chunks": GET "/v1/imports/{id}/chunks", &["after", "limit", "state", "problem"] => ChunkList;
    IMPORTS_PROBLEMS = "imports_problems": GET "/v1/imports/{id}/problems", &["limit"] => Problems;
    IMPORTS_FAILED_CSV = "imports_failed_csv": GET "/v1/imports/{id}/failed.csv", &["code", "field"];
    IMPORTS_FAILED_NDJSON = "imports_failed_ndjson": GET "/v1/imports/{id}/failed.ndjson", &["code", "field"];
    IMPORTS_PLAN = "imports_plan": GET "/v1/imports/{id}/plan", &[] => PlanView;
    IMPORTS_PLAN_ANEW = "imports_plan_anew": POST "/v1/imports/{id}/plan", &[] => View;
    IMPORTS_PLAN_CHANGES = "imports_plan_changes": GET "/v1/imports/{id}/plan/changes", &["limit", "field", "after"] => PlannedList;
    IMPORTS_RECEIPT = "imports_receipt": GET "/v1/imports/{id}/receipt", &[];
    IMPORTS_RECEIPT_KEY = "imports_receipt_key": GET "/v1/receipts/key", &[] => ReceiptKeyView;
    IMPORTS_REPORT = "imports_report_page": GET "/v1/imports/{id}/report.html", &[];
    IMPORTS_PROCEED = "imports_proceed": POST "/v1/imports/{id}/proceed", &["on_drift"] => View;
    IMPORTS_PAUSE = "imports_pause": POST "/v1/imports/{id}/pause", &[] => View;
    IMPORTS_RESUME = "imports_resume": POST "/v1/imports/{id}/resume", &[] => View;
    IMPORTS_CANCEL = "imports_cancel": POST "/v1/imports/{id}/cancel", &[] => View;
    IMPORTS_RETRY = "imports_retry": POST "/v1/imports/{id}/retry", &["code", "field"] => View;
    IMPORTS_UNDO_PREVIEW = "imports_undo_preview": GET "/v1/imports/{id}/undo", &[] => UndoPreview;
    IMPORTS_UNDO = "imports_undo": POST "/v1/imports/{id}/undo", &["start", "field", "records", "outcome", "code"] => View;
    BULK_LOOK = "bulk_look": POST "/v1/bulk", &["action", "state", "older_than", "newer_than", "file", "profile", "code", "field", "dead"] => BulkView;
    BULK_LIST = "bulk_list": GET "/v1/bulk", &[] => BulkList;
    BULK_SHOW = "bulk_show": GET "/v1/bulk/{bulk}", &[] => BulkView;
    BULK_START = "bulk_start": POST "/v1/bulk/{bulk}/start", &[] => BulkView;
    BULK_ABORT = "bulk_abort": POST "/v1/bulk/{bulk}/abort", &[] => BulkView;
    PROFILES_LIST = "profiles_list": GET "/v1/profiles", &[] => ProfileList;
    PROFILES_SHOW = "profiles_show": GET "/v1/profiles/{name}", &[] => ProfileView;
    PROFILES_SAVE = "profiles_save": PUT "/v1/profiles/{name}", &[];
    PROFILES_DELETE = "profiles_delete": DELETE "/v1/profiles/{name}", &[];
    USERS_FIND = "users_find": GET "/v1/users",
        &["email", "phone_number", "preferred_username", "organization", "updated_since", "after", "limit"] => UserList;
    USERS_EXPORT = "users_export": GET "/v1/users/export", &["format", "organization", "updated_since"];
    USERS_SHOW = "users_show": GET "/v1/users/{id}", &[] => User;
    USERS_HISTORY = "users_history": GET "/v1/users/{id}/history", &["limit", "after"] => HistoryPage;
    USERS_ERASE = "users_erase": DELETE "/v1/users/{id}", &[] => ErasedView;
    WEBHOOKS_LIST = "webhooks_list": GET "/v1/webhooks", &[] => WebhookList;
    WEBHOOKS_CREATE = "webhooks_create": POST "/v1/webhooks", &[] => WebhookCreated;
    WEBHOOKS_CHANGE = "webhooks_change": PATCH "/v1/webhooks/{id}", &[] => WebhookView;
    WEBHOOKS_DELETE = "webhooks_delete": DELETE "/v1/webhooks/{id}", &[];
    WEBHOOKS_ROTATE = "webhooks_rotate": POST "/v1/webhooks/{id}/secret", &[] => WebhookSecretView;
    WEBHOOKS_DROP_SECRET = "webhooks_drop_secret": DELETE "/v1/webhooks/{id}/secret", &["which"];
    WEBHOOKS_PING = "webhooks_ping": POST "/v1/webhooks/{id}/ping", &["wait"] => DeliveryView;
    WEBHOOKS_DELIVERIES = "webhooks_deliveries": GET "/v1/webhooks/{id}/deliveries", &["limit", "state"] => DeliveryList;
    WEBHOOKS_REDELIVER = "webhooks_redeliver":
        POST "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", &["wait"] => DeliveryView;
    AUDIT_LIST = "audit_list": GET "/v1/audit", &["limit", "after"] => AuditList;
    OPERATIONS_HEALTHZ = "operations_healthz": GET "/healthz", &[];
    OPERATIONS_METRICS = "operations_metrics": GET "/metrics", &[];
    OPERATIONS_READYZ = "operations_readyz": GET "/readyz", &[] => Readiness;
}

/// What reads an answer.
#[cfg(test)]
pub(super) type Reads = fn(Value) -> serde_json::Result<()>;

#[cfg(test)]
fn reads<T: serde::de::DeserializeOwned>(answer: Value) -> serde_json::Result<()> {
    serde_json::from_value::<T>(answer).map(drop)
}

/// An operation without its type.
#[cfg(test)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) method: &'static Method,
    pub(super) path: &'static str,
    pub(super) parameters: &'static [&'static str],
    /// None where the answer is taken as it is.
    pub(super) reads: Option<Reads>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_places_and_its_parameters() {
        let call =
            IMPORTS_RECORDS.at(&[&7]).with("limit", "5").with_all(Some(("code", "email_invalid".into())));
        assert_eq!((call.method(), call.path()), (&Method::GET, "/v1/imports/7/records"));
        assert_eq!(call.query(), [("limit", "5".to_owned()), ("code", "email_invalid".to_owned())]);
        assert_eq!(USERS_FIND.call().path(), "/v1/users");
    }
}
