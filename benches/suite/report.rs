//! Figures, their ratios and targets, and the page they end up in. A target is compared as it would be on this machine in
//! this minute: what was measured elsewhere is scaled by the calibrator of its kind.

use std::fmt::Write as _;

use crate::calibrate::{Calibration, REFERENCE};

/// Which way is better.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Shown for what it is worth.
    None,
}

#[derive(Debug, Clone)]
pub struct Figure {
    /// P1 … P18.
    pub row: &'static str,
    pub what: String,
    /// How many things were present.
    pub size: u64,
    pub value: f64,
    pub unit: &'static str,
    /// To a calibrator, and which.
    pub ratio: Option<(f64, &'static str)>,
    pub target: Target,
}

impl Figure {
    /// How far from the target: 1 and more is met.
    fn reach(&self) -> Option<f64> {
        match self.target {
            Target::AtLeast(limit) => Some(self.value / limit),
            Target::AtMost(limit) => Some(limit / self.value),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let ratio = self.ratio.map_or(String::new(), |(ratio, to)| format!("{} x {to}", number(ratio)));
        let target = match self.target {
            Target::AtLeast(limit) => format!(">= {}", number(limit)),
            Target::AtMost(limit) => format!("<= {}", number(limit)),
            Target::None => String::new(),
        };
        let reach = self.reach().map_or(String::new(), |reach| {
            format!("{} ({:.0} %)", if reach >= 1.0 { "met" } else { "missed" }, reach * 100.0)
        });
        format!(
            "| {} | {} | {} | {} {} | {ratio} | {target} | {reach} |",
            self.row,
            self.what,
            self.size,
            number(self.value),
            self.unit
        )
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// One of the rates.
type Of = fn(&Calibration) -> f64;

pub const HEAD: &str = "| row | what | size | measured | ratio | target here | |\n|---|---|---|---|---|---|---|";

/// Everything measured in one go.
pub struct Report {
    pub command: String,
    pub date: String,
    /// The first, and one more in the minute of every size.
    pub calibrations: Vec<Calibration>,
    pub figures: Vec<Figure>,
    /// Rows that could not be measured, and why.
    pub missing: Vec<String>,
}

impl Report {
    /// The newest.
    pub fn calibration(&self) -> Calibration {
        self.calibrations.last().copied().unwrap_or(REFERENCE)
    }

    pub fn add(&mut self, figure: Figure) {
        eprintln!("{}", figure.line());
        self.figures.push(figure);
    }

    pub fn markdown(&self) -> String {
        let range = |of: Of| {
            let values = || self.calibrations.iter().map(of);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            if self.calibrations.len() > 1 { format!("{} … {}", number(low), number(high)) } else { number(low) }
        };
        let mut out = format!(
            "# Benchmarks\nWritten by `{}` on {}. Figures of a shared machine: read the ratios, not the absolutes. `target here` is\n\
             the target scaled to this machine by the calibrator of its kind, taken in the same minute; a percentage below 100 is the gap that is left.\n\n\
             ## Calibrators\n| what | here | where the targets were measured |\n|---|---|---|\n",
            self.command, self.date
        );
        let calibrators: [(&str, Of); 5] = [
            ("axum hello JSON, 1 client, requests/s", |of| of.hello_1),
            ("axum hello JSON, 16 clients, requests/s", |of| of.hello_16),
            ("sqlx on SQLite, durable inserts of 1.2 KB, rows/s", |of| of.insert),
            ("sqlx on SQLite, look-ups by key, rows/s", |of| of.lookup),
            ("fdatasync of 4 KB, calls/s", |of| of.fdatasync),
        ];
        for (name, of) in calibrators {
            let _ = writeln!(out, "| {name} | {} | {} |", range(of), number(of(&REFERENCE)));
        }
        let _ = write!(out, "\n## Figures\n{HEAD}\n");
        for figure in &self.figures {
            let _ = writeln!(out, "{}", figure.line());
        }
        let exponents = self.exponents();
        if !exponents.is_empty() {
            out.push_str("\n## Growth\nExponent of time over size, from the smallest to the largest size measured.\n");
            out.push_str("| row | what | exponent |\n|---|---|---|\n");
            out.push_str(&exponents);
        }
        if !self.missing.is_empty() {
            out.push_str("\n## Not measured\n");
            for line in &self.missing {
                let _ = writeln!(out, "- {line}");
            }
        }
        out
    }

    /// log(time) over log(size) of figures that were taken at several sizes. Rates count as time per thing.
    fn exponents(&self) -> String {
        let mut out = String::new();
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for figure in &self.figures {
            if seen.contains(&(figure.row, figure.what.as_str())) {
                continue;
            }
            seen.push((figure.row, &figure.what));
            let same = || self.figures.iter().filter(|other| other.row == figure.row && other.what == figure.what);
            let (first, last) = (same().min_by_key(|f| f.size), same().max_by_key(|f| f.size));
            if let (Some(first), Some(last)) = (first, last)
                && first.size < last.size
                && let Some(sign) = sign(figure.unit)
            {
                let exponent = sign * (last.value / first.value).ln() / (last.size as f64 / first.size as f64).ln();
                let _ = writeln!(out, "| {} | {} | {exponent:.2} |", figure.row, figure.what);
            }
        }
        out
    }
}

/// Whether a growing value means growing time.
fn sign(unit: &str) -> Option<f64> {
    match unit {
        "s" | "ms" | "µs" => Some(1.0),
        _ if unit.ends_with("/s") => Some(-1.0),
        _ => None,
    }
}
