//! Mail over SMTP: a text for people, and beside it the calendar entries of windows (RFC 6047).

use std::time::{Duration, SystemTime};

use cutover_coordinator_core::outbox::{Failure, Message};
use cutover_shared::time::Time;
use lettre::message::header::{ContentDisposition, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport as _};

use super::{ANSWER, OutboxError, Parcel, chain, read_secret};
use crate::config::{MailSecurity, MailSettings};

/// Mail cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("prepare its encryption")]
pub struct MailError(#[from] smtp::Error);

pub(super) struct Mail {
    transport: SmtpTransport,
    from: Mailbox,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Mail {
    pub(super) fn open(settings: &MailSettings) -> Result<Self, OutboxError> {
        let tls = match settings.security {
            MailSecurity::StartTls => Tls::Required(parameters(settings)?),
            MailSecurity::Wrapper => Tls::Wrapper(parameters(settings)?),
            MailSecurity::ClearText => Tls::None,
        };
        let mut builder = SmtpTransport::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(ANSWER));
        if let Some((user, path)) = &settings.login {
            let password = read_secret("the mail server's password", path)?;
            builder = builder.credentials(Credentials::new(user.clone(), password.to_string()));
        }
        Ok(Self { transport: builder.build(), from: settings.from.clone() })
    }

    pub(super) fn from(&self) -> String {
        self.from.email.to_string()
    }

    pub(super) fn send(
        &self,
        parcel: &Parcel,
        (address, name): (&str, &str),
        message: &Message,
        now: Time,
    ) -> Result<(), Failure> {
        let mail = self.written(parcel, (address, name), message, now)?;
        self.transport.send(&mail).map(drop).map_err(|error| failure(&error))
    }

    fn written(
        &self,
        parcel: &Parcel,
        (address, name): (&str, &str),
        message: &Message,
        now: Time,
    ) -> Result<lettre::Message, Failure> {
        let unusable = |error: &dyn std::error::Error| Failure::Lasting {
            why: format!("write the mail: {}", chain(error)),
        };
        let to =
            address.parse().map_err(|error: lettre::address::AddressError| unusable(&error))?;
        let domain = parcel.origin.split('/').next().unwrap_or("cutover");
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        let builder = lettre::Message::builder()
            .message_id(Some(format!("<{}@{domain}>", parcel.key)))
            // All mail about one release is one conversation.
            .references(format!("<release-{}@{domain}>", parcel.subject))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .from(self.from.clone())
            .to(Mailbox::new(Some(name.to_owned()), to))
            .subject(message.subject.clone())
            // So that nobody's absence is told to a program (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Cutover-Key", &parcel.key.to_string()));
        let text = SinglePart::plain(message.text.clone());
        let written = match message.invitations.as_slice() {
            [] => builder.singlepart(text),
            // The one form in which every mail program offers the entry to be taken into a calendar.
            [one] => builder.multipart(
                MultiPart::alternative().singlepart(text).singlepart(calendar(one, false)),
            ),
            several => {
                let parts = MultiPart::mixed().singlepart(text);
                builder.multipart(
                    several.iter().fold(parts, |parts, it| parts.singlepart(calendar(it, true))),
                )
            }
        };
        written.map_err(|error| unusable(&error))
    }
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, OutboxError> {
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(|source| OutboxError::Read {
            what: "certificates",
            path: path.clone(),
            source,
        })?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|_| OutboxError::Certificates(path.clone()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    Ok(parameters.build_rustls().map_err(MailError)?)
}

fn header(name: &str, value: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii(name.to_owned()).expect("the name is ASCII");
    HeaderValue::new(name, value.to_owned())
}

fn calendar(invitation: &cutover_shared::calendar::ics::Invitation, attached: bool) -> SinglePart {
    let kind = format!("text/calendar; method={}; charset=utf-8", invitation.method);
    let part = SinglePart::builder()
        .header(ContentType::parse(&kind).expect("the media type has the form of one"));
    let part =
        if attached { part.header(ContentDisposition::attachment("window.ics")) } else { part };
    part.body(invitation.text.clone())
}

/// Who is refused for good (RFC 5321, 5yz) stays refused; but not being let in (RFC 4954: 530, 534, 535, 538)
/// is for an administrator to mend.
fn failure(error: &smtp::Error) -> Failure {
    let why = chain(error);
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    if error.is_permanent() && !code.starts_with("53") {
        Failure::Lasting { why }
    } else {
        Failure::Passing { why, after: None }
    }
}
