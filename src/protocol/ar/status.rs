//! What a responder makes of the status of an acknowledgement (RFC 3775 11.7.3, RFC 5648 4.4). Pure functions.
//! Called by the registrations.

use crate::wire::mobility::Status;

/// Whether a refusal may pass by itself, and what to tell the operator (RFC 3775 11.7.3).
pub(super) fn refusal(status: Status) -> (bool, &'static str) {
    match status {
        Status::INSUFFICIENT_RESOURCES => (true, "the agent has no room; trying again in a minute"),
        Status::ADMINISTRATIVELY_PROHIBITED => (false, "the agent's operator does not allow it"),
        Status::DUPLICATE_ADDRESS => (false, "another node on the home link uses the anycast address"),
        accepted if accepted.is_accepted() => (true, "the agent granted no time at all"),
        Status::NOT_HOME_SUBNET => (false, "the anycast address is not in the agent's home prefixes"),
        _ => (true, "the agent refused; trying again in a minute"),
    }
}

/// True when a status of RFC 5648 is about the Binding Identifier, so that the Binding Update may pass without it.
pub(super) fn refuses_identifiers(status: Status) -> bool {
    matches!(
        status,
        Status::MCOA_MALFORMED
            | Status::MCOA_NON_MCOA_BINDING_EXISTS
            | Status::MCOA_PROHIBITED
            | Status::MCOA_BULK_PROHIBITED
    )
}

/// True when a status tells the responder to try another agent (RFC 3775 11.7.3).
pub(super) fn asks_for_another_agent(status: Status) -> bool {
    matches!(
        status,
        Status::HOME_REGISTRATION_NOT_SUPPORTED | Status::NOT_HOME_SUBNET | Status::NOT_HOME_AGENT
    )
}
