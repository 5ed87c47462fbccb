//! Plots, drawn by the server as SVG: they need no script, and take their colours from the page's style.

use std::fmt::Write;

use super::format::{bytes, escaped, time};
use super::history::Range;
use super::model::{History, Sample};

/// The drawing's own units; it is stretched to what room there is.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// A young plot is as wide as so many samples.
const LEAST_SAMPLES: usize = 30;

/// What a plot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes a second.
    Rate,
    /// Things.
    Count,
    /// Hundredths.
    Percent,
    /// Milliseconds.
    Millis,
}

impl Unit {
    fn show(self, value: u64) -> String {
        match self {
            Self::Rate => format!("{}/s", bytes(value)),
            Self::Count => value.to_string(),
            Self::Percent => format!("{value} %"),
            Self::Millis => format!("{value} ms"),
        }
    }
}

/// A line of a plot.
pub(crate) type Line = (&'static str, fn(&Sample) -> Option<u64>);

/// One plot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) lines: &'static [Line],
}

/// All plots of the first page.
pub(crate) const PLOTS: &[Plot] = &[
    Plot {
        title: "Bandwidth",
        unit: Unit::Rate,
        lines: &[
            ("received", |s| Some(s.received_rate)),
            ("sent", |s| Some(s.sent_rate)),
            ("of it relayed", |s| Some(s.relayed_rate)),
        ],
    },
    Plot { title: "Connected routers", unit: Unit::Count, lines: &[("sessions", |s| Some(s.sessions))] },
    Plot {
        title: "Tunnels",
        unit: Unit::Count,
        lines: &[
            ("others', relayed", |s| Some(s.relayed_tunnels)),
            ("this router's own", |s| Some(s.tunnels)),
        ],
    },
    Plot {
        title: "Tunnels that came about, of those asked for",
        unit: Unit::Percent,
        lines: &[("built", |s| (s.builds_succeeded * 100).checked_div(s.builds))],
    },
    Plot { title: "Time through two tunnels", unit: Unit::Millis, lines: &[("latency", |s| s.latency_ms)] },
];

/// The end of the scale: a round number above the largest value.
fn ceiling(most: u64, unit: Unit) -> u64 {
    if unit == Unit::Percent {
        return 100;
    }
    let mut step = if unit == Unit::Rate { 1_024 } else { 1 };
    loop {
        for factor in [1, 2, 5] {
            let end: u64 = factor * step;
            if end >= most {
                return end;
            }
        }
        step = step.saturating_mul(10);
    }
}

/// Draws a plot.
pub(crate) fn figure(plot: &Plot, history: &History, range: Range) -> String {
    let samples = &history.samples;
    let slots = samples.len().max(LEAST_SAMPLES);
    let values = |of: fn(&Sample) -> Option<u64>| samples.iter().map(of).collect::<Vec<_>>();
    let lines: Vec<_> = plot.lines.iter().map(|(name, of)| (*name, values(*of))).collect();
    let most = lines.iter().flat_map(|(_, v)| v.iter().flatten()).max().copied().unwrap_or(0);
    let top = ceiling(most, plot.unit);
    let (mut legend, mut paths, mut spoken) = (String::new(), String::new(), String::new());
    for (i, (name, values)) in lines.iter().enumerate() {
        let last =
            values.iter().rev().find_map(|v| *v).map_or_else(|| "none yet".to_owned(), |v| plot.unit.show(v));
        let name = escaped(name);
        // Writing to a string cannot fail.
        let _ = write!(legend, "<li class=\"line{i}\">{name} <b>{last}</b></li>");
        let _ = write!(paths, "<path class=\"line{i}\" d=\"{}\"/>", path(values, slots, top));
        let _ = write!(spoken, "{name}: {last} now. ");
    }
    let from = time(history.every_s * slots as u64);
    format!(
        "<figure class=plot><figcaption><h3>{title}</h3><ul class=legend>{legend}</ul></figcaption>\
         <div class=drawing><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=none role=img \
         aria-label=\"{title}, the last {range}. {spoken}At most {most}.\">\
         <path class=grid d=\"M0 1H{WIDTH}M0 {half}H{WIDTH}M0 {bottom}H{WIDTH}\"/>{paths}</svg>\
         <span class=top>{top}</span><span class=bottom>0</span></div>\
         <p class=times><span>{from} ago</span><span>now</span></p></figure>\n",
        title = escaped(plot.title),
        range = range.words(),
        most = plot.unit.show(most),
        half = HEIGHT / 2.0,
        bottom = HEIGHT - 1.0,
        top = plot.unit.show(top),
    )
}

/// A line with gaps where nothing is known; the latest value is at the right end.
fn path(values: &[Option<u64>], slots: usize, top: u64) -> String {
    let (mut d, mut pen_down, before) = (String::new(), false, slots - values.len());
    let step = WIDTH / (slots.saturating_sub(1).max(1)) as f64;
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let x = (before + i) as f64 * step;
        let y = (HEIGHT - 2.0) * (1.0 - (*value).min(top) as f64 / top as f64) + 1.0;
        let command = if pen_down { 'L' } else { 'M' };
        let _ = write!(d, "{command}{x:.1} {y:.1}");
        if !pen_down {
            // A value between two gaps is a dot.
            let _ = write!(d, "h0.1");
        }
        pen_down = true;
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (most, unit, end) in [
            (0, Unit::Count, 1),
            (3, Unit::Count, 5),
            (12, Unit::Count, 20),
            (50, Unit::Count, 50),
            (51, Unit::Count, 100),
            (3, Unit::Percent, 100),
            (1_500, Unit::Rate, 2_048),
        ] {
            assert_eq!(ceiling(most, unit), end, "{most}");
        }
        assert!(ceiling(u64::MAX, Unit::Count) == u64::MAX);
    }

    #[test]
    fn gaps_stay_gaps() {
        assert_eq!(path(&[], 30, 1), "");
        let d = path(&[Some(0), None, Some(1), Some(1)], 4, 1);
        assert_eq!(d.matches('M').count(), 2, "{d}");
        assert_eq!(d.matches('L').count(), 1, "{d}");
    }
}
