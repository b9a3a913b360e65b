//! Ladder diagrams: one column per node, one row per packet, drawn as text for a terminal or as SVG.
//! They show who sent what to whom in thesis section 5, in the manner of its Figure 12.
//! The lab prints and stores one per step; rows come from a [`Trace`] of captures.

use std::{fmt::Write as _, net::Ipv6Addr, time::Duration};

use super::{
    passage::{Passage, Trace},
    view::{Content, Segment, View},
};
use crate::wire::icmpv6::Icmpv6Message;

/// A ladder diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// The columns, left to right: nodes that take part.
    pub columns: Vec<String>,
    /// The rows, in order of time.
    pub rows: Vec<Row>,
}

/// A row of a ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A heading across all columns: what begins here.
    Mark(String),
    /// A packet, or several alike.
    Arrow(Arrow),
}

/// One packet from column to column, or several alike folded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// First of them, since the beginning of the trace.
    pub first: Duration,
    /// Last of them, since the beginning of the trace.
    pub last: Duration,
    /// Index into [`Ladder::columns`].
    pub from: usize,
    /// Index into [`Ladder::columns`]; the same as `from` when nobody is known to have received it.
    pub to: usize,
    /// A few words.
    pub label: String,
    /// Source and destination of the innermost packet, which tells conversations in one tunnel apart.
    pub conversation: Option<(Ipv6Addr, Ipv6Addr)>,
    /// How many packets.
    pub count: usize,
    /// What kind of packet.
    pub kind: Kind,
}

/// What a row's packet is about; it decides the row's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mobility Headers, home agent discovery, Neighbor Discovery.
    Signalling,
    /// Echo, TCP, UDP.
    Data,
    /// Refusals, ICMPv6 errors, resets.
    Trouble,
}

/// A heading to be put before the first packet seen at or after `at` (since the Unix epoch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// From when on, since the Unix epoch.
    pub at: Duration,
    /// The heading.
    pub text: String,
}

impl Ladder {
    /// Draws the passages of `trace` from `begin` (inclusive) to `end` (exclusive), both since the Unix epoch.
    /// Neighbor Discovery and other link noise is left out except what is about the anycast address `anycast`;
    /// repeated application data is folded, control messages never are.
    pub fn new(trace: &Trace, begin: Duration, end: Duration, marks: &[Mark], anycast: Ipv6Addr) -> Ladder {
        let mut rows: Vec<Row> = Vec::new();
        let mut marks = marks.iter().filter(|mark| mark.at >= begin && mark.at < end).peekable();
        // Where the current stretch of foldable rows begins.
        let mut stretch = 0;
        let drawn = trace.passages.iter().filter(|passage| (begin..end).contains(&passage.at()));
        for passage in drawn {
            let Some(arrow) = arrow(trace, passage, anycast) else { continue };
            while let Some(mark) = marks.next_if(|mark| mark.at <= passage.at()) {
                rows.push(Row::Mark(mark.text.clone()));
                stretch = rows.len();
            }
            let foldable = arrow.kind == Kind::Data && !opens_or_closes(passage);
            if !foldable {
                rows.push(Row::Arrow(arrow));
                stretch = rows.len();
                continue;
            }
            let alike = rows.iter_mut().skip(stretch).find_map(|row| match row {
                Row::Arrow(there) if there.is_like(&arrow) => Some(there),
                _ => None,
            });
            match alike {
                Some(there) => {
                    there.count += 1;
                    there.last = arrow.first;
                }
                None => rows.push(Row::Arrow(arrow)),
            }
        }
        for mark in marks {
            rows.push(Row::Mark(mark.text.clone()));
        }
        let mut ladder = Ladder { columns: trace.nodes.clone(), rows };
        ladder.drop_idle_columns();
        ladder
    }

    fn drop_idle_columns(&mut self) {
        let arrows = || {
            self.rows.iter().filter_map(|row| match row {
                Row::Arrow(arrow) => Some(arrow),
                Row::Mark(_) => None,
            })
        };
        let busy: Vec<bool> = (0..self.columns.len())
            .map(|column| arrows().any(|arrow| arrow.from == column || arrow.to == column))
            .collect();
        let place = |column: usize| busy.iter().take(column).filter(|busy| **busy).count();
        for row in &mut self.rows {
            if let Row::Arrow(arrow) = row {
                (arrow.from, arrow.to) = (place(arrow.from), place(arrow.to));
            }
        }
        let mut keep = busy.iter();
        self.columns.retain(|_| keep.next().is_some_and(|busy| *busy));
    }

    /// The diagram for a terminal, at most 110 columns wide.
    pub fn text(&self) -> String {
        const WIDTH: usize = 110;
        const TIME: usize = 10;
        const COLUMN: usize = 9;
        let centre = |column: usize| TIME + column * COLUMN + COLUMN / 2;
        let label_at = TIME + self.columns.len() * COLUMN + 1;
        let mut text = format!("{:<TIME$}", "  seconds");
        for column in &self.columns {
            text += &format!("{column:^COLUMN$}");
        }
        text = text.trim_end().to_owned();
        text.push('\n');
        for row in &self.rows {
            match row {
                Row::Mark(heading) => {
                    let line = format!("{:─<TIME$} {heading} ", "");
                    let fill = WIDTH.saturating_sub(line.chars().count());
                    text += &shorten(&format!("{line}{:─<fill$}", ""), WIDTH);
                }
                Row::Arrow(arrow) => {
                    let mut line: Vec<char> = vec![' '; label_at];
                    for (column, _) in self.columns.iter().enumerate() {
                        put(&mut line, centre(column), '│');
                    }
                    for (place, letter) in format!("{:9.4}", arrow.first.as_secs_f64()).chars().enumerate() {
                        put(&mut line, place, letter);
                    }
                    let (left, right) = (centre(arrow.from.min(arrow.to)), centre(arrow.from.max(arrow.to)));
                    for place in left + 1..right {
                        put(&mut line, place, '─');
                    }
                    match arrow.to.cmp(&arrow.from) {
                        std::cmp::Ordering::Greater => put(&mut line, right - 1, '▶'),
                        std::cmp::Ordering::Less => put(&mut line, left + 1, '◀'),
                        std::cmp::Ordering::Equal => put(&mut line, left + 1, '•'),
                    }
                    let line: String = line.into_iter().collect();
                    text += &shorten(&format!("{line}{}", arrow.words()), WIDTH);
                }
            }
            text.push('\n');
        }
        text
    }

    /// The diagram as a stand-alone SVG document that is readable on light and dark paper and can be put into HTML
    /// as it is.
    pub fn svg(&self, title: &str) -> String {
        const LEFT: usize = 90;
        const COLUMN: usize = 190;
        const HEAD: usize = 46;
        const ROW: usize = 28;
        let x = |column: usize| LEFT + column * COLUMN + COLUMN / 2;
        let width = LEFT + self.columns.len().max(2) * COLUMN;
        let height = HEAD + self.rows.len() * ROW + 18;
        let mut svg = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<svg class=\"ladder\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\"><title>{}</title><style>{SVG_STYLE}</style>\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>",
            escape(title)
        );
        for (column, name) in self.columns.iter().enumerate() {
            let (x, bottom) = (x(column), height - 8);
            let _ = write!(
                svg,
                "<line class=\"life\" x1=\"{x}\" y1=\"36\" x2=\"{x}\" y2=\"{bottom}\"/>\
                 <rect class=\"node\" x=\"{}\" y=\"8\" width=\"72\" height=\"26\" rx=\"5\"/>\
                 <text class=\"name\" x=\"{x}\" y=\"26\">{}</text>",
                x - 36,
                escape(name)
            );
        }
        for (place, row) in self.rows.iter().enumerate() {
            let y = HEAD + place * ROW + 20;
            match row {
                Row::Mark(heading) => {
                    let _ = write!(
                        svg,
                        "<rect class=\"mark\" x=\"8\" y=\"{}\" width=\"{}\" height=\"20\" rx=\"3\"/>\
                         <text class=\"heading\" x=\"16\" y=\"{}\">{}</text>",
                        y - 15,
                        width - 16,
                        y - 1,
                        escape(heading)
                    );
                }
                Row::Arrow(arrow) => {
                    let _ = write!(
                        svg,
                        "<g class=\"{}\"><text class=\"time\" x=\"{}\" y=\"{y}\">{:.4}</text>",
                        arrow.kind.class(),
                        LEFT - 8,
                        arrow.first.as_secs_f64()
                    );
                    let (from, to) = (x(arrow.from), x(arrow.to));
                    if from == to {
                        let _ = write!(svg, "<circle class=\"head\" cx=\"{from}\" cy=\"{y}\" r=\"4\"/>");
                    } else {
                        let (tip, back) = if to > from { (to - 1, to - 9) } else { (to + 1, to + 9) };
                        let _ = write!(
                            svg,
                            "<line class=\"arrow\" x1=\"{from}\" y1=\"{y}\" x2=\"{back}\" y2=\"{y}\"/>\
                             <path class=\"head\" d=\"M{tip} {y}L{back} {}L{back} {}Z\"/>",
                            y - 4,
                            y + 4
                        );
                    }
                    let _ = write!(
                        svg,
                        "<text class=\"label\" x=\"{}\" y=\"{}\">{}</text></g>",
                        from.midpoint(to),
                        y - 5,
                        escape(&arrow.words())
                    );
                }
            }
        }
        svg += "</svg>";
        svg
    }
}

impl Arrow {
    fn is_like(&self, other: &Arrow) -> bool {
        (self.from, self.to, &self.label, self.conversation)
            == (other.from, other.to, &other.label, other.conversation)
    }

    /// The label, with the count and the time of the last when there are several.
    fn words(&self) -> String {
        match self.count {
            0 | 1 => self.label.clone(),
            count => format!("{} ×{count} …{:.3}", self.label, self.last.as_secs_f64()),
        }
    }
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Signalling => "signalling",
            Kind::Data => "data",
            Kind::Trouble => "trouble",
        }
    }
}

/// Plain colours and their dark counterparts, without custom properties, which not every SVG program knows.
const SVG_STYLE: &str = "\
.ladder{font-family:ui-sans-serif,system-ui,'DejaVu Sans',sans-serif}\
.ladder .paper{fill:#fff}.ladder .life{stroke:#c3ccd6;stroke-width:1.5}\
.ladder .node{fill:#eef2f6;stroke:#c3ccd6}.ladder .mark{fill:#eef2f6}\
.ladder .name{fill:#1c2733;font-size:13px;font-weight:600;text-anchor:middle}\
.ladder .heading{fill:#1c2733;font-size:12px;font-weight:600}\
.ladder .time{fill:#5b6875;font-size:11px;text-anchor:end;font-variant-numeric:tabular-nums}\
.ladder .label{font-size:11px;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px;\
stroke-linejoin:round}\
.ladder .arrow{stroke-width:1.6;fill:none}\
.ladder .signalling .arrow{stroke:#0b5cad}.ladder .signalling .head,.ladder .signalling .label{fill:#0b5cad}\
.ladder .data .arrow{stroke:#5b6875}.ladder .data .head,.ladder .data .label{fill:#5b6875}\
.ladder .trouble .arrow{stroke:#b3261e}.ladder .trouble .head,.ladder .trouble .label{fill:#b3261e}\
@media(prefers-color-scheme:dark){\
.ladder .paper{fill:#12181f}.ladder .life{stroke:#3b4854}\
.ladder .node{fill:#1e2832;stroke:#3b4854}.ladder .mark{fill:#1e2832}\
.ladder .name,.ladder .heading{fill:#e4eaf0}.ladder .time{fill:#9fb0bf}.ladder .label{stroke:#12181f}\
.ladder .signalling .arrow{stroke:#7cb8ff}.ladder .signalling .head,.ladder .signalling .label{fill:#7cb8ff}\
.ladder .data .arrow{stroke:#9fb0bf}.ladder .data .head,.ladder .data .label{fill:#9fb0bf}\
.ladder .trouble .arrow{stroke:#ff8a80}.ladder .trouble .head,.ladder .trouble .label{fill:#ff8a80}}";

/// Text made safe for SVG and HTML, attributes included.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            letter => safe.push(letter),
        }
    }
    safe
}

fn arrow(trace: &Trace, passage: &Passage, anycast: Ipv6Addr) -> Option<Arrow> {
    let view = passage.view.as_ref();
    if view.is_ok_and(|view| is_link_noise(view, anycast)) {
        return None;
    }
    let from = passage.from.or(passage.to)?;
    let to = passage.to.unwrap_or(from);
    let (label, kind) = match view {
        Ok(view) if view.is_trouble() => (view.to_string(), Kind::Trouble),
        Ok(view) if view.is_data() => (view.to_string(), Kind::Data),
        Ok(view) => (view.to_string(), Kind::Signalling),
        Err(error) => (format!("malformed: {error}"), Kind::Trouble),
    };
    let first = passage.at().saturating_sub(trace.start());
    let conversation = view.ok().map(|view| (view.inner().final_source(), view.inner().final_destination()));
    Some(Arrow { first, last: first, from, to, label, conversation, count: 1, kind })
}

fn is_link_noise(view: &View, anycast: Ipv6Addr) -> bool {
    match view.icmpv6() {
        Some(
            Icmpv6Message::NeighborSolicitation { target, .. }
            | Icmpv6Message::NeighborAdvertisement { target, .. },
        ) => *target != anycast,
        Some(Icmpv6Message::RouterSolicitation { .. } | Icmpv6Message::RouterAdvertisement { .. }) => true,
        // Multicast Listener Discovery (RFC 2710, RFC 3810).
        Some(Icmpv6Message::Unknown { kind: 130..=132 | 143, .. }) => true,
        _ => false,
    }
}

fn opens_or_closes(passage: &Passage) -> bool {
    match passage.view.as_ref().map(|view| &view.content) {
        Ok(Content::Tcp(segment)) => {
            segment.has(Segment::SYN) || segment.has(Segment::FIN) || segment.has(Segment::RST)
        }
        _ => false,
    }
}

fn put(line: &mut [char], place: usize, letter: char) {
    if let Some(there) = line.get_mut(place) {
        *there = letter;
    }
}

fn shorten(line: &str, width: usize) -> String {
    let line = line.trim_end();
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width - 1).collect();
    short.push('…');
    short
}
