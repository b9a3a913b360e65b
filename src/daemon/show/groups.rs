//! Tables for `show members` and `show affinity`, and the text of `explain` (thesis 4.3).
//! Part of `show`.

use serde_json::Value;

use super::{list, plain, table, word};

/// Microseconds as milliseconds, thousandths as what they are thousandths of.
fn thousandth(row: &Value, key: &str, unit: &str) -> String {
    match row.get(key).and_then(Value::as_f64) {
        Some(number) => format!("{}{unit}", number / 1000.0),
        None => "-".to_owned(),
    }
}

/// Who has keys, and who is in the groups.
pub(super) fn members(value: &Value) -> String {
    let keys = list(value.get("keys").unwrap_or(&Value::Null)).iter().map(|row| {
        let enabled = row.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        vec![
            word(row, "identifier"),
            word(row, "spi"),
            if enabled { "enabled" } else { "disabled" }.to_owned(),
            word(row, "max_weight"),
            thousandth(row, "min_metric", ""),
            word(row, "anycast"),
        ]
    });
    let keys: Vec<_> = keys.collect();
    let columns = ["identifier", "spi", "key", "max-weight", "min-metric", "anycast"];
    let mut text = if keys.is_empty() { String::new() } else { table(&columns, keys, "") + "\n" };
    let groups = list(value.get("groups").unwrap_or(&Value::Null));
    let mut rows = Vec::new();
    for group in groups {
        for row in list(group.get("members").unwrap_or(&Value::Null)) {
            let carried = row.get("carried").unwrap_or(&Value::Null);
            rows.push(vec![
                word(group, "anycast"),
                word(row, "member"),
                word(row, "care_of"),
                word(row, "identifier"),
                word(row, "state"),
                thousandth(row, "distance", "ms"),
                thousandth(row, "metric", ""),
                word(row, "weight"),
                word(row, "slots"),
                word(row, "sources"),
                capacity(row),
                word(carried, "packets_to"),
                word(carried, "packets_from"),
            ]);
        }
    }
    let columns = [
        "anycast",
        "member",
        "care-of",
        "identifier",
        "state",
        "distance",
        "metric",
        "weight",
        "slots",
        "sources",
        "capacity",
        "packets-to",
        "packets-from",
    ];
    text += &table(&columns, rows, "no members");
    for group in groups.iter().filter(|group| is_all_full(group)) {
        text += &format!("\n{}: {ALL_FULL}\n", word(group, "anycast"));
    }
    text
}

/// What an operator must know where capacities are not kept.
const ALL_FULL: &str = "all members are full and share new sources by weight";

fn is_all_full(group: &Value) -> bool {
    group.get("all_full").and_then(Value::as_bool).unwrap_or(false)
}

/// Sources that a member wants at most; zero, on the wire, is no bound.
fn capacity(row: &Value) -> String {
    match row.get("capacity").and_then(Value::as_u64) {
        None | Some(0) => "-".to_owned(),
        Some(sources) => sources.to_string(),
    }
}

/// How many sources are fixed, and the latest of them.
pub(super) fn affinity(value: &Value) -> String {
    let columns = ["anycast", "sources", "evicted", "octets"];
    let words = |row: &Value, keys: &[&str]| keys.iter().map(|key| word(row, key)).collect::<Vec<_>>();
    let totals = list(value).iter().map(|row| words(row, &columns));
    let mut rows = Vec::new();
    for group in list(value) {
        for row in list(group.get("latest").unwrap_or(&Value::Null)) {
            rows.push(vec![
                word(group, "anycast"),
                word(row, "source"),
                word(row, "member"),
                word(row, "remaining") + "s",
            ]);
        }
    }
    let totals = table(&columns, totals.collect(), "no address of the advanced model");
    totals + "\n" + &table(&["anycast", "source", "member", "remaining"], rows, "no fixed sources")
}

/// Where a packet would go, and why.
pub(super) fn explain(value: &Value) -> String {
    let mut text = format!("{} -> {}\n", word(value, "source"), word(value, "destination"));
    let clause = value.get("clause").and_then(Value::as_str).filter(|clause| !clause.is_empty());
    let clause = clause.map(|clause| format!(" ({clause})")).unwrap_or_default();
    text += &format!("because: {}{clause}\n", word(value, "because"));
    text += &format!("rule:    {}\n", word(value, "rule"));
    if let Some(headers) = value.get("headers") {
        text += &format!("next:    {}\n", word(value, "to"));
        text += &format!("packet:  {}\n", word(headers, "line"));
        text += &format!("headers: {}\n", word(headers, "octets"));
    }
    let Some(group) = value.get("group") else { return text };
    let all_full = if is_all_full(group) { format!("; {ALL_FULL}") } else { String::new() };
    text +=
        &format!("\nselection {}, margin {}%{all_full}\n", word(group, "selection"), word(group, "margin"));
    let rows = list(group.get("members").unwrap_or(&Value::Null)).iter().map(|row| {
        let judgement = row.get("judgement").and_then(Value::as_object).and_then(|of| of.iter().next());
        let judgement = judgement.map_or_else(
            || "-".to_owned(),
            |(kind, number)| {
                let number = if number.is_null() { "unknown".to_owned() } else { plain(number) };
                format!("{kind} {number}")
            },
        );
        let is_it = value.get("member").is_some() && value.get("member") == row.get("member");
        vec![
            if is_it { "*" } else { " " }.to_owned() + &word(row, "member"),
            word(row, "care_of"),
            word(row, "state"),
            judgement,
            thousandth(row, "distance", "ms"),
            thousandth(row, "metric", ""),
            word(row, "weight"),
        ]
    });
    let columns = [" member", "care-of", "state", "score", "distance", "metric", "weight"];
    text + &table(&columns, rows.collect(), "no members")
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use serde_json::json;

    #[test]
    fn an_explanation_ends_with_the_scores_of_all_candidates() {
        let value = json!({
            "source": "2001:db8:0:2::2", "destination": "2001:db8:0:1::a", "rule": "group", "by": "slot",
            "member": 2, "slot": 7, "to": "2001:db8:0:5::2", "because": "its slot", "clause": "thesis 4.3.1",
            "headers": { "line": "a line", "octets": "60" },
            "group": { "selection": "distance", "margin": 20, "members": [
                { "member": 1, "care_of": "2001:db8:0:4::2", "state": "lost", "weight": 1,
                  "judgement": { "cost": null } },
                { "member": 2, "care_of": "2001:db8:0:5::2", "state": "alive", "weight": 1, "distance": 20500,
                  "judgement": { "cost": 20500 } },
            ]},
        });
        assert_eq!(
            text("explain", &value),
            "2001:db8:0:2::2 -> 2001:db8:0:1::a\n\
             because: its slot (thesis 4.3.1)\n\
             rule:    group\n\
             next:    2001:db8:0:5::2\n\
             packet:  a line\n\
             headers: 60\n\
             \n\
             selection distance, margin 20%\n \
             member  care-of          state  score         distance  metric  weight\n \
             1       2001:db8:0:4::2  lost   cost unknown  -         -       1\n\
             *2       2001:db8:0:5::2  alive  cost 20500    20.5ms    -       1\n"
        );
    }
}
