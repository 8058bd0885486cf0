//! Webhooks: CloudEvents 1.0 in structured JSON mode (HTTP protocol binding 3.2), signed as Standard Webhooks
//! 1.0 has it: `webhook-id`, `webhook-timestamp`, and in `webhook-signature` `v1,` and the base64 of the
//! HMAC-SHA-256 of id, timestamp and body with dots between. Receivers find libraries for both; those that
//! deduplicate by id see a second delivery as what it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cutover_coordinator_core::outbox::{Failure, Message};
use cutover_shared::name::Name;
use cutover_shared::time::Time;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::http::Http;
use super::{OutboxError, Parcel, read_secret};
use crate::config::WebhookSettings;

/// Shortest secret: below that a signature can be guessed.
const LEAST: usize = 16;

/// How a secret begins that is written in base64.
const BASE64: &str = "whsec_";

pub(super) struct Webhook {
    name: Name,
    http: Http,
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Webhook {
    pub(super) fn open(settings: &WebhookSettings) -> Result<Self, OutboxError> {
        let path = &settings.secret_file;
        let text = read_secret("a webhook's secret", path)?;
        let wrong = |fault| OutboxError::Secret { path: path.clone(), fault };
        let secret = match text.strip_prefix(BASE64) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_| wrong("what follows whsec_ is no base64"))?
            }
            None => text.as_bytes().to_vec(),
        };
        let secret = Zeroizing::new(secret);
        if secret.len() < LEAST {
            return Err(wrong("it has fewer than 16 bytes"));
        }
        Ok(Self {
            name: settings.name.clone(),
            http: Http::open(&settings.endpoint, None)?,
            secret,
        })
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn send(
        &self,
        parcel: &Parcel,
        message: &Message,
        now: Time,
    ) -> Result<(), Failure> {
        let id = parcel.key.to_string();
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("urn:cutover:{}", parcel.origin),
            "type": format!("cutover.{}.v1", message.event),
            "subject": message.about,
            "time": parcel.issued,
            "datacontenttype": "application/json",
            "data": message.data,
        });
        let body = event.to_string();
        let timestamp = (now.as_millis() / 1000).to_string();
        let signature = signature(&self.secret, &id, &timestamp, body.as_bytes());
        let headers = [
            ("content-type", "application/cloudevents+json; charset=utf-8"),
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        self.http.post(&headers, body.as_bytes(), now)
    }
}

fn signature(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
