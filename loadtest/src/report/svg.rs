//! Plots as SVG, to stand inside a page: lines over time and bars by name. Colours are classes of the page,
//! which has a light and a dark set of them.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// One line of a plot.
pub(super) struct Line {
    pub(super) name: String,
    /// Time in seconds and value, in the order of time; a point without a value breaks the line.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// How values are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten, for times.
    Logarithmic,
}

/// A plot of lines over time. A mark, if any, is an upright line with a few words.
pub(super) fn lines(lines: &[Line], scale: Scale, mark: Option<(f64, &str)>) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let until = points().map(|(at, _)| *at).fold(0.0, f64::max);
    let values = || points().filter_map(|(_, value)| *value);
    let Some(axis) = Axis::over(values(), scale) else {
        return "<p class=\"none\">nothing of it happened</p>".into();
    };
    let x = |at: f64| LEFT + at / until.max(1e-9) * (WIDTH - LEFT - RIGHT);
    let mut svg = open();
    axis.draw(&mut svg);
    for at in ticks(until) {
        let (x, y) = (x(at), HEIGHT - BOTTOM + 18.0);
        push(
            &mut svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{} s</text>",
                short(at)
            ),
        );
    }
    if let Some((at, words)) = mark {
        let (x, low, high) = (x(at), HEIGHT - BOTTOM, TOP);
        push(
            &mut svg,
            format_args!(
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{high}\" y2=\"{low}\"/>"
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{}\">{}</text>",
                x + 4.0,
                TOP + 10.0,
                escaped(words)
            ),
        );
    }
    for (nth, line) in lines.iter().enumerate() {
        let mut path = String::new();
        let mut pen_is_down = false;
        for (at, value) in &line.points {
            if let Some(value) = value {
                let command = if pen_is_down { 'L' } else { 'M' };
                push(&mut path, format_args!("{command}{:.1} {:.1}", x(*at), axis.y(*value)));
            }
            pen_is_down = value.is_some();
        }
        push(
            &mut svg,
            format_args!(
                "<path class=\"line c{nth}\" d=\"{path}\"><title>{}</title></path>",
                escaped(&line.name)
            ),
        );
    }
    svg.push_str("</svg>");
    legend(&mut svg, lines.iter().map(|line| line.name.as_str()));
    svg
}

/// A plot of bars, each with its name and its value above it.
pub(super) fn bars(bars: &[(String, f64)]) -> String {
    let Some(axis) = Axis::over(bars.iter().map(|(_, value)| *value), Scale::Linear) else {
        return "<p class=\"none\">nothing of it happened</p>".into();
    };
    let mut svg = open();
    axis.draw(&mut svg);
    let room = (WIDTH - LEFT - RIGHT) / bars.len() as f64;
    for (nth, (name, value)) in bars.iter().enumerate() {
        let (x, y) = (LEFT + (nth as f64 + 0.15) * room, axis.y(*value));
        let (width, height) = (room * 0.7, HEIGHT - BOTTOM - y);
        push(
            &mut svg,
            format_args!(
                "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>"
            ),
        );
        let middle = x + width / 2.0;
        push(
            &mut svg,
            format_args!(
                "<text class=\"value\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                (y - 4.0).max(TOP + 8.0),
                short(*value)
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<text class=\"tick\" x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM + 18.0,
                escaped(name)
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What the page's text may hold as it is.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number in few characters: 1500 is 1.5 k.
pub(super) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, " G"),
        1e6.. => (value / 1e6, " M"),
        1e4.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        100.0.. => 0,
        1.0.. => 1,
        _ => 2,
    };
    let text = format!("{scaled:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn open() -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">")
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn legend<'n>(svg: &mut String, names: impl Iterator<Item = &'n str>) {
    svg.push_str("<p class=\"legend\">");
    for (nth, name) in names.enumerate() {
        push(svg, format_args!("<span><i class=\"c{nth}\"></i>{}</span>", escaped(name)));
    }
    svg.push_str("</p>");
}

/// Round steps that divide the way from zero to `end` in about six.
fn ticks(end: f64) -> impl Iterator<Item = f64> {
    let step = round_step(end / 6.0);
    (0..=60).map(move |nth| f64::from(nth) * step).take_while(move |tick| *tick <= end * 1.0001)
}

/// The next of 1, 2, 5, 10, 20 ... above a value.
fn round_step(value: f64) -> f64 {
    let magnitude = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| *step >= value).unwrap_or(10.0 * magnitude)
}

/// The upright axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    /// Over all of these values; none where there is none.
    fn over(values: impl Iterator<Item = f64>, scale: Scale) -> Option<Self> {
        let (low, high) = values
            .map(|value| (value, value))
            .reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))?;
        Some(match scale {
            Scale::Linear => Self { scale, low: 0.0, high: high.max(1e-9) * 1.05 },
            Scale::Logarithmic => {
                let power = |value: f64| value.max(1e-3).log10();
                let low = 10f64.powf(power(low).floor());
                Self { scale, low, high: 10f64.powf(power(high).ceil()).max(low * 10.0) }
            }
        })
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        };
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    fn draw(&self, svg: &mut String) {
        let marks: Vec<f64> = match self.scale {
            Scale::Linear => ticks(self.high).collect(),
            Scale::Logarithmic => {
                let powers = (self.high / self.low).log10().round() as i32;
                (0..=powers).map(|power| self.low * 10f64.powi(power)).collect()
            }
        };
        for mark in marks {
            let y = self.y(mark);
            push(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
            push(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 8.0,
                    y + 4.0,
                    short(mark)
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (7.0, "7"),
            (1500.0, "1500"),
            (19_000.0, "19 k"),
            (1_250_000.0, "1.2 M"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(ticks(60.0).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert!((4..=8).contains(&ticks(0.37).count()));
        assert_eq!(ticks(0.0).count(), 1);
    }

    #[test]
    fn a_line_breaks_where_there_is_no_value_and_stays_within_the_plot() {
        let line = Line {
            name: "p99 <of> pings".into(),
            points: vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(1000.0)), (3.0, Some(10.0))],
        };
        let plot = lines(&[line], Scale::Logarithmic, Some((2.0, "storm")));
        let path = plot.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path, "M64.0 212.0M493.3 12.0L708.0 145.3");
        assert!(plot.contains("p99 &lt;of&gt; pings") && plot.contains(">storm<"));
        assert!(lines(&[], Scale::Linear, None).contains("nothing"));
    }
}
