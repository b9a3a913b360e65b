//! How what a node tells is laid out for people: tables for `show`, a line per event for `watch`. The same values
//! go out untouched with `--json`. Called by `cli`.

use serde_json::{Map, Value};

mod groups;

/// The text for a `show` answer, ending with a newline.
pub fn text(what: &str, value: &Value) -> String {
    match what {
        "bindings" => bindings(value),
        "updates" => updates(value),
        "members" => groups::members(value),
        "affinity" => groups::affinity(value),
        "explain" => groups::explain(value),
        "rules" => rules(value),
        "kernel rules" => kernel_rules(value),
        "timers" => timers(value),
        "stats" => stats(value),
        "config" => config(value),
        _ => plain(value) + "\n",
    }
}

/// One line for an event of `watch`.
pub fn event(value: &Value) -> String {
    let at = value.get("at").and_then(Value::as_f64).unwrap_or_default();
    let mut line = format!("{at:10.3} {}", word(value, "event"));
    for (key, name) in [
        ("anycast", "anycast"),
        ("care_of", "care-of"),
        ("peer", "peer"),
        ("sequence", "sequence"),
        ("status", "status"),
        ("lifetime", "lifetime"),
        ("metric", "metric"),
        ("sources", "sources"),
    ] {
        if let Some(field) = value.get(key) {
            line += &format!(" {name} {}", plain(field));
        }
    }
    for (key, open, close) in [("reason", ": ", ""), ("clause", " (", ")")] {
        if let Some(field) = value.get(key).and_then(Value::as_str) {
            line += &format!("{open}{field}{close}");
        }
    }
    line
}

fn bindings(value: &Value) -> String {
    let mut columns = vec!["anycast", "care-of", "agent", "sequence", "flags", "lifetime", "remaining"];
    let advanced = list(value).iter().any(|row| row.get("member").is_some());
    if advanced {
        columns.extend(["member", "bid", "extensions"]);
    }
    let rows = list(value).iter().map(|row| {
        let mut cells = vec![
            word(row, "anycast"),
            word(row, "care_of"),
            word(row, "agent"),
            word(row, "sequence"),
            word(row, "flags"),
            word(row, "lifetime") + "s",
            word(row, "remaining") + "s",
        ];
        if advanced {
            cells.extend(["member", "bid", "extensions"].map(|key| word(row, key)));
        }
        cells
    });
    table(&columns, rows.collect(), "no bindings")
}

fn updates(value: &Value) -> String {
    let agents = list(value.get("agents").unwrap_or(&Value::Null)).iter().map(|row| {
        vec![
            word(row, "anycast"),
            word(row, "agent") + if row.get("midway").is_some() { " (midway)" } else { "" },
            word(row, "care_of"),
            word(row, "state"),
            word(row, "sequence"),
            word(row, "lifetime") + "s",
            word(row, "remaining") + "s",
            word(row, "extensions"),
        ]
    });
    let services = list(value.get("services").unwrap_or(&Value::Null)).iter().map(|row| {
        let metric = row.get("metric").and_then(Value::as_f64);
        vec![
            word(row, "anycast"),
            word(row, "model"),
            word(row, "stage"),
            word(row, "health"),
            metric.map_or_else(|| "-".to_owned(), |thousandths| format!("{:.3}", thousandths / 1000.0)),
            word(row, "weight"),
            word(row, "capacity"),
            word(row, "connections"),
        ]
    });
    let initiators = list(value.get("initiators").unwrap_or(&Value::Null)).iter().map(|row| {
        vec![
            word(row, "anycast"),
            word(row, "initiator"),
            word(row, "state"),
            word(row, "sequence"),
            word(row, "remaining") + "s",
        ]
    });
    let columns = ["anycast", "agent", "care-of", "state", "sequence", "lifetime", "remaining", "extensions"];
    let mut first = table(&columns, agents.collect(), "no home registrations");
    let services: Vec<_> = services.collect();
    if !services.is_empty() {
        let columns = ["anycast", "model", "stage", "health", "metric", "weight", "capacity", "connections"];
        first += &("\n".to_owned() + &table(&columns, services, ""));
    }
    let columns = ["anycast", "initiator", "state", "sequence", "remaining"];
    first + "\n" + &table(&columns, initiators.collect(), "no initiators")
}

fn rules(value: &Value) -> String {
    let rows = list(value).iter().map(|row| {
        let mut detail = Vec::new();
        for key in ["agent", "care_of", "initiator", "own"] {
            if row.get(key).is_some() {
                detail.push(format!("{} {}", key.replace('_', "-"), word(row, key)));
            }
        }
        vec![
            word(row, "rule"),
            word(row, "anycast"),
            detail.join(", "),
            word(row, "packets"),
            word(row, "octets"),
        ]
    });
    table(&["rule", "anycast", "between", "packets", "octets"], rows.collect(), "no rules")
}

fn kernel_rules(value: &Value) -> String {
    let rows = list(value.get("rules").unwrap_or(&Value::Null)).iter().map(|row| {
        let way = row.get("next_hop").filter(|way| !way.is_null());
        let way = way.map(|way| {
            format!("{} dev {} mtu {}", word(way, "neighbour"), word(way, "device"), word(way, "mtu"))
        });
        vec![
            word(row, "kernel"),
            word(row, "rule"),
            word(row, "anycast"),
            format!("{}, {}", word(row, "near"), word(row, "far")),
            way.unwrap_or_default(),
            word(row, "ends_in"),
            word(row, "packets"),
            word(row, "octets"),
        ]
    });
    let columns = ["kernel", "rule", "anycast", "between", "way", "ends in", "packets", "octets"];
    table(&columns, rows.collect(), "no rules")
}

fn timers(value: &Value) -> String {
    let rows = list(value).iter().map(|row| {
        let seconds = row.get("in").and_then(Value::as_f64).unwrap_or_default();
        vec![word(row, "timer"), word(row, "anycast"), word(row, "peer"), format!("{seconds:.1}s")]
    });
    table(&["timer", "anycast", "peer", "in"], rows.collect(), "no timers")
}

fn stats(value: &Value) -> String {
    let empty = Map::new();
    let mut rows = Vec::new();
    for (group, counters) in value.as_object().unwrap_or(&empty) {
        for (name, count) in counters.as_object().unwrap_or(&empty) {
            rows.push(vec![group.clone(), name.clone(), plain(count)]);
        }
    }
    table(&["group", "counter", "value"], rows, "nothing counted")
}

/// The configuration as a file that `--config` and `check` take; what only a running node has is in comments.
fn config(value: &Value) -> String {
    let empty = Map::new();
    let running = value.get("running").and_then(Value::as_object).unwrap_or(&empty);
    let comments: String =
        running.iter().map(|(key, field)| format!("# {key}: {}\n", plain(field))).collect();
    let words = value.get("config").unwrap_or(&Value::Null);
    // Only a node of another version could send what TOML has no words for; then it stands as it came.
    comments + &toml::to_string(words).unwrap_or_else(|_| format!("{words}\n"))
}

fn table(columns: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let mut widths: Vec<usize> = columns.iter().map(|name| name.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let text: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut columns.iter().copied());
    for row in &rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(row: &Value, key: &str) -> String {
    row.get(key).map_or_else(|| "-".to_owned(), plain)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_stand_in_columns() {
        let value = json!([{
            "anycast": "2001:db8:0:1::a", "care_of": "2001:db8:0:4::2", "agent": "2001:db8:0:1::2",
            "sequence": 200, "flags": "AH", "lifetime": 96, "remaining": 95,
        }]);
        assert_eq!(
            text("bindings", &value),
            "anycast          care-of          agent            sequence  flags  lifetime  remaining\n\
             2001:db8:0:1::a  2001:db8:0:4::2  2001:db8:0:1::2  200       AH     96s       95s\n"
        );
        assert_eq!(text("bindings", &json!([])), "no bindings\n");
    }

    #[test]
    fn a_responder_of_the_advanced_model_shows_its_agents_and_its_service() {
        let agent = |address: &str, midway: Option<bool>| {
            json!({
                "anycast": "2001:db8:0:1::a", "agent": address, "midway": midway, "care_of": "2001:db8:0:4::2",
                "state": "registered", "sequence": 7, "lifetime": 96, "remaining": 90,
                "extensions": ["several", "affinity"],
            })
        };
        let mut home = agent("2001:db8:0:1::2", None);
        home.as_object_mut().expect("a row").remove("midway");
        let value = json!({
            "agents": [home, agent("2001:db8:0:6::2", Some(true))],
            "services": [{
                "anycast": "2001:db8:0:1::a", "model": "advanced", "stage": "draining", "health": "well",
                "metric": 2500, "weight": 3, "capacity": 0, "connections": 4,
            }],
            "initiators": [],
        });
        let text = text("updates", &value);
        let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1][1..3], ["2001:db8:0:1::2", "2001:db8:0:4::2"]);
        assert_eq!(words[2][1..3], ["2001:db8:0:6::2", "(midway)"]);
        assert_eq!(words[1][7..], ["several,", "affinity"]);
        assert_eq!(words[5], ["2001:db8:0:1::a", "advanced", "draining", "well", "2.500", "3", "0", "4"]);
    }

    #[test]
    fn an_event_is_one_line_with_its_clause() {
        let value = json!({
            "at": 1.5, "event": "binding-update-refused", "anycast": "2001:db8:0:1::a", "sequence": 100,
            "status": 135, "reason": "the sequence number is old", "clause": "RFC 3775 9.5.1",
        });
        assert_eq!(
            event(&value),
            "     1.500 binding-update-refused anycast 2001:db8:0:1::a sequence 100 status 135: \
             the sequence number is old (RFC 3775 9.5.1)"
        );
    }
}
