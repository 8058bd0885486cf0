//! Join strings: how a host first hears of a policy to trust.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cutover_shared::codec;
use cutover_shared::dsse::Envelope;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::Join;

use crate::settings::HostSettings;

/// What a join string begins with.
pub const JOIN_PREFIX: &str = "cutover-join:";

/// Reads a join string and checks it against the host's own configuration: the policy is what its digest
/// says and well signed, and the grant is for this environment and these applications.
pub fn read_join(text: &str, settings: &HostSettings) -> Result<Join, String> {
    let body = text.trim().strip_prefix(JOIN_PREFIX);
    let body = body.ok_or(format!("not a join string: it begins with {JOIN_PREFIX}"))?;
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(body)
        .map_err(|_| "the join string is damaged: copy it whole, on one line".to_owned())?;
    let join: Join = codec::decode(&bytes)
        .map_err(|_| "the join string is damaged, or made by another version".to_owned())?;
    let policy = pinned(&join)?;
    if policy.document().log.key != join.coordinator_key {
        return Err("the join string's coordinator is not the one of its trust policy".to_owned());
    }
    if join.environment != settings.environment {
        return Err(format!(
            "the join string is for environment {}, this host's configuration says {}",
            join.environment, settings.environment
        ));
    }
    let foreign = settings.applications.keys().find(|name| !join.applications.contains(*name));
    match foreign {
        None => Ok(join),
        Some(name) => Err(format!(
            "the configuration has application {name}, for which the join string gives no grant"
        )),
    }
}

/// The policy that a join string pins.
pub(crate) fn pinned(join: &Join) -> Result<TrustPolicy, String> {
    let envelope = Envelope::parse(&join.policy).map_err(|error| error.to_string())?;
    TrustPolicy::pinned(&envelope, &join.policy_id).map_err(|refusal| refusal.to_string())
}
