//! The threats that RFC 3775 section 15 names, each with the tests that carry it out: `docs/threats.md`, made from the
//! list here. It fails when a test is not there, or a subsection with threats has none.
//! Run by continuous integration; `UPDATE_THREATS=1 cargo test --test threats` writes the document anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A threat: its subsection, what somebody might do, and the tests in which it is done.
type Threat = (&'static str, &'static str, &'static [&'static str]);

/// The subsections of section 15 that name threats; 15.2 and 15.4.1 are overviews.
const SUBSECTIONS: [&str; 12] = [
    "15.1", "15.3", "15.4.2", "15.4.3", "15.4.4", "15.4.5", "15.4.6", "15.5", "15.6", "15.7", "15.8", "15.9",
];

const THREATS: [Threat; 37] = [
    (
        "15.1",
        "Messages of somebody who saw none of what they are about: acknowledgements, tests, errors to a responder",
        &[
            "n025_an_acknowledgement_without_routing_header_or_from_elsewhere_is_ignored",
            "n026_an_acknowledgement_of_another_number_is_ignored",
            "n048_n050_a_wrong_cookie_is_ignored",
            "n064_an_error_about_an_unknown_peer_creates_nothing",
            "n060_nobody_off_the_path_can_make_an_initiator_plain",
        ],
    ),
    (
        "15.1",
        "Any octets at all, to bring a node down, fill it or have it answer a group of nodes",
        &[
            "m030_c054_no_input_breaks_a_role",
            "what_is_refused_is_not_answered_to_what_is_no_unicast_address",
            "no_error_goes_from_or_to_an_address_that_is_nobodys",
        ],
    ),
    (
        "15.3",
        "An update in a responder's name without its key, to have its packets or to cut it off",
        &[
            "without_key_identifier_or_proof_there_is_silence",
            "a_member_cannot_speak_in_anothers_name",
            "nobody_joins_drains_or_leaves_a_group_in_a_members_name",
        ],
    ),
    ("15.3", "An update that was changed on its way", &["nothing_that_was_proven_can_be_changed_on_the_way"]),
    (
        "15.3",
        "Recorded updates, also after the agent has forgotten its numbers or all 65536 are used up",
        &[
            "a_replay_is_refused_with_the_agents_seconds_and_the_updates_fraction",
            "a_timestamp_must_be_close_enough_and_greater_than_all_before",
            "what_was_recorded_before_the_agent_started_is_refused",
        ],
    ),
    (
        "15.3",
        "A responder with a key that registers another's address",
        &["a_member_serves_only_the_addresses_it_may"],
    ),
    (
        "15.3",
        "A responder with a key that registers a victim's address as its own, and is put out by the operator",
        &[
            "a_member_is_only_where_it_may_be",
            "a_care_of_address_in_a_binding_identifier_is_no_way_around_the_bounds",
            "members_are_added_switched_and_removed_while_the_agent_runs",
        ],
    ),
    (
        "15.3",
        "A responder with a key that lies about itself to have more of a group's packets",
        &["a_lying_member_gets_no_more_of_a_group_than_its_bounds_allow"],
    ),
    (
        "15.3",
        "An acknowledgement in the agent's name, to stop a responder or send it elsewhere",
        &[
            "only_a_proven_acknowledgement_with_the_updates_timestamp_is_believed",
            "a_denied_key_is_told_once_for_an_update_and_never_acted_on",
            "a_told_time_is_taken_once_and_only_with_the_updates_fraction",
        ],
    ),
    (
        "15.4.2",
        "A forged update to an initiator by somebody who is not on the path of the home test",
        &[
            "x202_an_update_of_which_anything_was_changed_does_nothing",
            "c021_c022_c023_c024_c030_an_incomplete_or_wrong_authorisation_is_silent",
        ],
    ),
    (
        "15.4.2",
        "A victim's address as care-of address, to bomb it with an initiator's packets",
        &["c028_c029_an_alternate_care_of_address_is_what_must_have_been_tested"],
    ),
    (
        "15.4.2",
        "Another's home address with one's own tokens",
        &["c021_c022_c023_c024_c030_an_incomplete_or_wrong_authorisation_is_silent"],
    ),
    (
        "15.4.2",
        "An acknowledgement or status 135 in an initiator's name",
        &["n059_x014_135_from_an_initiator_counts_only_with_the_authenticator"],
    ),
    (
        "15.4.3",
        "A binding that somebody left behind while passing by: it ends after seven minutes at the latest",
        &["c031_a_binding_lives_420_seconds_at_most"],
    ),
    (
        "15.4.3",
        "Tokens collected in advance: dead after four minutes",
        &["c012_c025_c026_c027_tokens_live_210_seconds_and_die_by_240"],
    ),
    (
        "15.4.4",
        "A recorded update to an initiator, while its binding is there and after it is gone",
        &["c052_no_update_of_a_binding_that_is_gone_can_be_replayed", "c038_15_then_15"],
    ),
    (
        "15.4.5",
        "Floods of tests and forged updates, to fill an initiator's memory",
        &["c011_c054_floods_leave_no_state", "c011_issuing_tokens_makes_no_state_beyond_the_ring"],
    ),
    (
        "15.4.5",
        "More proven bindings than an initiator has room for",
        &[
            "c049_c065_a_full_cache_is_130_and_pushes_nobody_out",
            "c065_c049_a_full_cache_lets_the_idlest_go_and_never_one_in_use",
        ],
    ),
    (
        "15.4.5",
        "Deletions without end, to wear out nonces",
        &["a_spent_nonce_is_not_handed_out_again_and_spending_does_not_fill_the_ring"],
    ),
    (
        "15.4.5",
        "Packets from forged sources, to fool a responder into optimising routes to everybody",
        &[
            "forged_sources_are_tested_at_a_bounded_rate_and_do_not_push_out_what_works",
            "n007_test_inits_and_updates_to_an_initiator_keep_the_rate_too",
        ],
    ),
    (
        "15.4.5",
        "Expensive checks: floods of bad authenticators to an agent",
        &["floods_of_bad_authenticators_are_answered_at_a_bounded_rate_and_hold_nobody_up"],
    ),
    (
        "15.4.5",
        "More registrations than an agent has room for",
        &["h020_beyond_the_capacity_is_130_and_what_is_bound_stays", "members_count_against_the_capacity"],
    ),
    (
        "15.4.5",
        "Packets from forged sources, to push live flows of a group to other responders",
        &["two_hundred_thousand_forged_sources_move_none_of_a_hundred_live_flows"],
    ),
    (
        "15.4.5",
        "An operator under attack who switches route optimisation off",
        &[
            "c080_switched_off_it_answers_as_a_host_that_never_heard_of_mobile_ipv6",
            "n067_n076_no_optimisation_with_the_agent_link_local_peers_or_when_disabled",
        ],
    ),
    (
        "15.4.5",
        "A node used as an amplifier: Binding Errors and ICMPv6 errors at no more than their rate",
        &["m005_binding_errors_are_rate_limited", "a_bucket_lets_a_burst_through_and_then_its_rate"],
    ),
    (
        "15.4.6",
        "Guessing cookies, tokens and authenticators: none is shorter than the 64, 64 and 96 bits of the text",
        &["n048_n050_a_wrong_cookie_is_ignored", "n054_n055_c045_the_published_vectors_of_one_kame_exchange"],
    ),
    (
        "15.5",
        "Discovery as a means to map a network or to reflect: answered to the asker alone, remembered never",
        &["q12_discovery_that_never_stops_is_answered_every_time_and_remembered_never"],
    ),
    (
        "15.5",
        "A forged discovery reply, which leads nowhere without its request's identifier",
        &["n093_n094_n096_a_move_during_discovery_asks_again_from_the_new_address"],
    ),
    (
        "15.5",
        "Forged Router Advertisements, to fill the lists of agents and prefixes or to enter them from elsewhere",
        &[
            "a_flood_of_agents_is_remembered_only_so_far_and_our_address_is_ours",
            "a_flood_of_prefixes_is_remembered_only_so_far",
            "h115_h116_only_valid_router_advertisements_with_the_h_bit_make_a_home_agent",
        ],
    ),
    (
        "15.6",
        "Asking for the home network's prefixes without being registered there",
        &["h141_nobody_else_is_told_anything"],
    ),
    (
        "15.6",
        "False prefixes, to have a responder give up its address",
        &[
            "n102_an_advertisement_without_routing_header_or_from_elsewhere_is_discarded",
            "n103_an_unsolicited_advertisement_is_not_believed_but_asked_about",
        ],
    ),
    (
        "15.7",
        "Tunnel packets to the agent that seem to come from a responder",
        &[
            "h104_h106_a_tunnel_from_anyone_but_the_bound_responder_is_refused",
            "h103_h105_the_tunnel_may_end_at_the_anycast_address_but_not_a_displaced_responders",
            "tunnels_of_any_member_are_accepted_at_either_end_and_nobody_elses",
        ],
    ),
    (
        "15.7",
        "Tunnel packets to a responder that seem to come from its agent's side",
        &[
            "n068_n069_n073_a_tunnel_from_the_agent_alone_is_opened_and_its_peer_noticed",
            "a_responder_takes_the_tunnels_of_its_home_agent_and_of_its_midway_agents_and_of_nobody_else",
        ],
    ),
    (
        "15.7",
        "Forged ICMPv6 errors about tunnels, to have the agent tell others",
        &["h107_an_error_about_our_tunnel_is_told_to_the_sender_inside_and_no_other_error_is"],
    ),
    (
        "15.8",
        "Packets reflected by the home address option",
        &[
            "c066_c068_c069_c070_an_option_that_matches_no_binding_is_a_binding_error_1",
            "c067_c068_c076_the_option_is_taken_out_for_the_bound_care_of_address_alone",
        ],
    ),
    (
        "15.9",
        "Packets sent around a firewall by the type 2 routing header",
        &[
            "n070_n072_a_routing_header_is_taken_out_for_the_bound_address_alone",
            "c072_a_type_2_routing_header_ends_silently_where_there_is_no_home_address",
        ],
    ),
    (
        "15.9",
        "The same to the responder's own kernel, in a real network",
        &["a_responder_away_from_home_deals_with_a_scripted_agent_and_initiators"],
    ),
];

/// The names of all tests below `folder`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let name = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
                match name {
                    Some((name, _)) if is_test => {
                        found.insert(name.to_owned());
                    }
                    // Cases that a macro makes tests of.
                    _ if line.ends_with(';') && line.contains(": ") => {
                        let (name, _) = line.split_once(": ").unwrap_or_default();
                        let is_row =
                            |name: &str| name.len() > 4 && name[1..4].bytes().all(|of| of.is_ascii_digit());
                        if name.is_ascii() && is_row(name) {
                            found.insert(name.to_owned());
                        }
                    }
                    _ => {}
                }
                // A proptest block has its attribute too; further attributes may stand between.
                is_test = line == "#[test]" || (is_test && line.starts_with("#["));
            }
        }
    }
}

#[test]
fn every_threat_of_section_15_is_carried_out_by_a_test() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests(&root.join(folder), &mut found);
    }
    let mut text = String::from(
        "# Threats\n\n\
         What RFC 3775 section 15 warns of, and the tests in which it is done to our roles. Made by `tests/threats.rs`, \
         which fails when a test is not there; `UPDATE_THREATS=1 cargo test --test threats` writes it anew. What ESP \
         would do is done by the keys of RFC 4285 ([membership.md](membership.md)); an agent \
         without keys, `authentication = \"none\"`, believes every update.\n\n| Section | Threat | Tests |\n|---|---|---|\n",
    );
    let mut missing: Vec<&str> = Vec::new();
    for (section, threat, names) in THREATS {
        assert!(!names.is_empty(), "{threat}: no test");
        missing.extend(names.iter().filter(|name| !found.contains(**name)));
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {section} | {threat} | {} |", names.join("<br>"));
    }
    assert!(missing.is_empty(), "no such test: {missing:?}");
    for section in SUBSECTIONS {
        assert!(THREATS.iter().any(|(of, ..)| *of == section), "{section}: no threat");
    }
    let document = root.join("docs/threats.md");
    if std::env::var_os("UPDATE_THREATS").is_some_and(|value| value == "1") {
        return fs::write(&document, text).expect("written");
    }
    let committed = fs::read_to_string(&document).unwrap_or_default();
    assert!(committed == text, "docs/threats.md is old, UPDATE_THREATS=1 renews it");
}
