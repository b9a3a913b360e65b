//! What an operator is told of several responders at one anycast address (thesis 4.3): what the role knows of them and
//! what the data path knows, side by side. Values for `show members`, `show affinity`, `show rules` and `explain`.
//! Called by the event loop.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use super::data_path::DataPath;
use super::node::Node;
use crate::protocol::clock::Instant;

/// The members, with what each carries; a lost one carries nothing.
///
/// # Errors
/// A sentence for the operator when this role has none.
pub(super) fn members(node: &Node, data_path: &mut DataPath, now: Instant) -> Result<Value, String> {
    let mut told = node.members()?;
    let carried = data_path.groups(now);
    for group in told.get_mut("groups").and_then(Value::as_array_mut).into_iter().flatten() {
        let anycast = group.get("anycast").cloned();
        let installed = carried.iter().find(|installed| anycast == Some(json!(installed.anycast)));
        for member in group.get_mut("members").and_then(Value::as_array_mut).into_iter().flatten() {
            let number = member.get("member").cloned();
            let views = installed.into_iter().flat_map(|installed| &installed.members);
            for view in views.filter(|view| number == Some(json!(view.member.number))) {
                member["slots"] = json!(view.slots);
                member["sources"] = json!(view.sources);
                member["carried"] = json!(view.carried);
            }
        }
    }
    Ok(told)
}

/// The fixed sources, those used last first, at most `most` of each anycast address.
///
/// # Errors
/// A sentence for the operator when this role fixes none.
pub(super) fn affinity(
    node: &Node,
    data_path: &mut DataPath,
    now: Instant,
    most: usize,
) -> Result<Value, String> {
    if !matches!(node, Node::Haa(_)) {
        return Err("only an agent (role haa or maa) fixes sources to responders".to_owned());
    }
    let views = data_path.groups(now);
    let fixed = data_path.fixed(now, most);
    let groups = views.iter().map(|view| {
        json!({
            "anycast": view.anycast,
            "sources": view.sources,
            "evicted": view.evicted,
            "octets": view.octets,
            "latest": fixed.get(&view.anycast),
        })
    });
    Ok(json!(groups.collect::<Vec<_>>()))
}

/// Forgets which responder a source is fixed to, one source's or all, and tells how many there were.
///
/// # Errors
/// A sentence for the operator when no source can be fixed.
pub(super) fn forget(data_path: &mut DataPath, peer: Option<Ipv6Addr>) -> Result<Value, String> {
    if !data_path.has_groups() {
        return Err("no source is fixed to a responder: no address of the advanced model has one".to_owned());
    }
    Ok(json!({ "done": true, "sources": data_path.forget_sources(peer) }))
}

/// The rules in force, and each member of a group as if it were one.
pub(super) fn rules(data_path: &mut DataPath, now: Instant) -> Value {
    let mut rules: Vec<Value> = data_path.rules().iter().map(|rule| json!(rule)).collect();
    for group in data_path.groups(now) {
        rules.extend(group.members.iter().map(|view| {
            json!({
                "rule": "group-member",
                "anycast": group.anycast,
                "agent": group.agent,
                "care_of": view.member.care_of,
                "member": view.member.number,
                "takes": view.member.takes,
                "slots": view.slots,
                "sources": view.sources,
                "packets": view.carried.packets_to + view.carried.packets_from,
                "octets": view.carried.octets_to + view.carried.octets_from,
            })
        }));
    }
    json!(rules)
}

/// What would become of a packet, and at an agent how its candidates stand.
pub(super) fn explain(
    node: &Node,
    data_path: &mut DataPath,
    now: Instant,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Value {
    let mut told = json!(data_path.explain(now, source, destination));
    let groups = node.members().ok().and_then(|mut members| members.get_mut("groups").map(Value::take));
    let of_destination = |group: &&Value| group.get("anycast") == Some(&json!(destination));
    let groups = groups.as_ref().and_then(Value::as_array).into_iter().flatten();
    if let Some(group) = groups.into_iter().find(of_destination) {
        told["group"] = group.clone();
    }
    told
}
