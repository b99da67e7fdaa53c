//! A report as a page: figures, plots and tables in one file, light or dark as the reader's system is.

use std::fmt::Write;

use super::svg::{Line, Scale, bars, escaped, lines, short};
use super::{ComebackReport, Point, Report, Setting, StepReport};

const STYLE: &str = include_str!("page.css");

/// Most steps that a plot shows, the most frequent ones.
const LINES_MAX: usize = 8;

pub(super) fn page(report: &Report) -> String {
    let mut page = String::with_capacity(1 << 16);
    let profile = report.setting.as_ref().map_or("swarm", |setting| &setting.profile);
    let title = format!("{}: {} devices", escaped(profile), report.devices);
    let head = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
                <meta name=\"viewport\" content=\"width=device-width\">";
    add(&mut page, format_args!("{head}<title>{title}</title><style>{STYLE}</style></head><body>"));
    add(
        &mut page,
        format_args!(
            "<header><p>OCF Cloud · ocf-swarm</p><h1>{title}</h1>{}</header>",
            verdict(report)
        ),
    );
    figures(&mut page, report);
    if let Some(comebacks) = &report.comebacks {
        storm(&mut page, report, comebacks);
    }
    section(&mut page, "Devices", &lines(&devices(report), Scale::Linear, mark(report)));
    section(
        &mut page,
        "Steps that succeeded, per second",
        &lines(&rates(report), Scale::Linear, mark(report)),
    );
    section(
        &mut page,
        "99 of 100 took no longer than, in ms",
        &lines(&latencies(report), Scale::Logarithmic, mark(report)),
    );
    table(&mut page, report);
    if let Some(setting) = &report.setting {
        memory(&mut page, setting, mark(report));
        machine(&mut page, setting);
    }
    page.push_str("</body></html>\n");
    page
}

fn add(page: &mut String, what: std::fmt::Arguments<'_>) {
    page.write_fmt(what).expect("a string takes everything");
}

fn section(page: &mut String, title: &str, content: &str) {
    add(page, format_args!("<section><h2>{title}</h2>{content}</section>"));
}

fn verdict(report: &Report) -> String {
    match report.failure() {
        None => "<p class=\"good\">Everything as it should be</p>".into(),
        Some(failure) => format!("<p class=\"bad\">{}</p>", escaped(&failure)),
    }
}

/// The few numbers that count.
fn figures(page: &mut String, report: &Report) {
    let mut shown = vec![
        (short(report.online as f64), "online at the end".to_owned()),
        (short(report.ready as f64), "with their links published".to_owned()),
        (format!("{} s", short(report.duration_secs)), "length of the run".to_owned()),
    ];
    let failed: u64 = report.steps.iter().map(|step| step.failed).sum();
    shown.push((short(failed as f64), "steps that failed".to_owned()));
    for step in
        report.steps.iter().filter(|step| matches!(step.step, "ping" | "retrieve" | "rest-read"))
    {
        if let Some(times) = &step.times_ms {
            shown.push((time(times.p99), format!("p99 of {}", step.step)));
        }
    }
    if let Some(setting) = &report.setting {
        for (name, bytes) in setting.processes.iter().zip(&setting.bytes_per_device) {
            if let Some(bytes) = bytes {
                shown.push((format!("{bytes} B"), format!("{} for each device", escaped(name))));
            }
        }
    }
    page.push_str("<div class=\"figures\">");
    for (figure, what) in shown {
        add(page, format_args!("<div><b>{figure}</b><span>{what}</span></div>"));
    }
    page.push_str("</div>");
}

/// Milliseconds, or seconds where there are many.
fn time(millis: f64) -> String {
    if millis < 1000.0 {
        format!("{} ms", short(millis))
    } else {
        format!("{} s", short(millis / 1e3))
    }
}

fn mark(report: &Report) -> Option<(f64, &'static str)> {
    Some((report.comebacks.as_ref()?.storm_at_secs?, "storm"))
}

/// A line over the intervals of a run.
fn over(report: &Report, name: &str, value: impl Fn(&Point) -> Option<f64>) -> Line {
    let points = report.timeline.iter().map(|point| (point.at_secs, value(point))).collect();
    Line { name: name.to_owned(), points }
}

fn devices(report: &Report) -> Vec<Line> {
    let mut shown = vec![
        over(report, "online", |point| Some(point.online as f64)),
        over(report, "arrived", |point| Some(point.arrived as f64)),
    ];
    if report.comebacks.is_some() {
        shown.push(over(report, "cut off", |point| Some(point.out as f64)));
    }
    shown
}

/// The steps worth a line.
fn frequent(report: &Report) -> impl Iterator<Item = &StepReport> {
    let mut counts: Vec<u64> = report.steps.iter().map(|step| step.succeeded).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let least = counts.get(LINES_MAX - 1).copied().unwrap_or(1).max(1);
    report.steps.iter().filter(move |step| step.succeeded >= least).take(LINES_MAX)
}

fn rates(report: &Report) -> Vec<Line> {
    let rate = |name: &'static str| {
        over(report, name, move |point| {
            let step = point.steps.iter().find(|step| step.step == name);
            Some(step.map_or(0.0, |step| step.per_sec))
        })
    };
    frequent(report).map(|step| rate(step.step)).collect()
}

fn latencies(report: &Report) -> Vec<Line> {
    let p99 = |name: &'static str| {
        over(report, name, move |point| point.steps.iter().find(|step| step.step == name)?.p99_ms)
    };
    frequent(report).map(|step| p99(step.step)).collect()
}

/// How many were back how soon, and with which try.
fn storm(page: &mut String, report: &Report, comebacks: &ComebackReport) {
    let words = escaped(&comebacks.to_string()).replace('\n', "; ");
    let by_try: Vec<_> = comebacks
        .by_try
        .iter()
        .zip(1..)
        .filter(|(count, nth)| **count > 0 || *nth <= 3)
        .map(|(count, nth)| (format!("try {nth}"), *count as f64))
        .collect();
    let mut content = format!("<p>{words}</p>");
    if let Some(at) = comebacks.storm_at_secs {
        let dropped = comebacks.dropped.max(1) as f64;
        let after = report.timeline.iter().filter(|point| point.at_secs >= at);
        let points = after
            .map(|point| (point.at_secs - at, Some((1.0 - point.out as f64 / dropped) * 100.0)))
            .collect();
        let back = Line { name: "back, in percent of those cut off".into(), points };
        content.push_str(&lines(&[back], Scale::Linear, None));
    }
    content.push_str(&bars(&by_try));
    section(page, "Cut off and back", &content);
}

fn table(page: &mut String, report: &Report) {
    let mut rows = String::from(
        "<div class=\"wide\"><table><tr><th>step<th>succeeded<th>per s<th>failed<th>p50 ms<th>p90<th>p99\
         <th>p99.9<th>longest</tr>",
    );
    for step in &report.steps {
        add(
            &mut rows,
            format_args!(
                "<tr><td>{}<td>{}<td>{:.1}<td>{}",
                step.step, step.succeeded, step.per_sec, step.failed
            ),
        );
        let times = step.times_ms.as_ref();
        for time in [
            times.map(|times| times.p50),
            times.map(|times| times.p90),
            times.map(|times| times.p99),
            times.map(|times| times.p999),
            times.map(|times| times.max),
        ] {
            match time {
                Some(time) => add(&mut rows, format_args!("<td>{time:.2}")),
                None => rows.push_str("<td>"),
            }
        }
        rows.push_str("</tr>");
    }
    rows.push_str("</table></div>");
    for step in report.steps.iter().filter(|step| step.failed > 0) {
        for failure in &step.failures {
            let what = escaped(&failure.what);
            add(
                &mut rows,
                format_args!("<p>{} failed {} times: {what}</p>", step.step, failure.count),
            );
        }
    }
    for breach in &report.breaches {
        let what = escaped(&breach.what);
        add(&mut rows, format_args!("<p class=\"bad\">{what} ({} times)</p>", breach.count));
    }
    section(page, "Steps, from when each was due", &rows);
}

fn memory(page: &mut String, setting: &Setting, mark: Option<(f64, &str)>) {
    let mib = |bytes: u64| Some(bytes as f64 / f64::from(1 << 20));
    let mut shown: Vec<Line> = setting
        .processes
        .iter()
        .enumerate()
        .map(|(nth, name)| Line {
            name: name.clone(),
            points: setting
                .memory
                .iter()
                .map(|m| (m.at_secs, mib(m.resident_bytes[nth])))
                .collect(),
        })
        .collect();
    let points = setting.memory.iter().map(|m| (m.at_secs, mib(m.slab_bytes))).collect();
    shown.push(Line { name: "kernel (slab)".into(), points });
    let mut content = lines(&shown, Scale::Linear, mark);
    if let Some(bytes) = setting.slab_bytes_per_device {
        add(
            &mut content,
            format_args!(
                "<p>The kernel's slab has grown by {bytes} bytes for each device that came online, both ends of its connection and whatever else went on.</p>"
            ),
        );
    }
    section(page, "Memory, MiB", &content);
}

fn machine(page: &mut String, setting: &Setting) {
    let machine = &setting.machine;
    let content = format!(
        "<p>{}, {} cores, {} MiB, Linux {}</p><pre>{}</pre>",
        escaped(&machine.processor),
        machine.cores,
        machine.memory_mib,
        escaped(&machine.linux),
        escaped(&setting.command)
    );
    section(page, "Machine and command", &content);
}

#[cfg(test)]
mod tests {
    use super::super::tests::outcome;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_page_has_everything_in_itself_and_shows_text_as_text() {
        let mut run = outcome(3, 3);
        run.stats.breaches.insert("rule <3> & more".into(), 1);
        run.stats.comebacks.dropped = 2;
        run.stats.comebacks.back(Duration::from_secs(2), 1);
        run.storm = Some(Duration::from_secs(1));
        let page = Report::new(&run, 3, 0).html();
        assert!(page.contains("rule &lt;3&gt; &amp; more"));
        for outside in ["http:", "https:", "src=", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for tag in ["section", "svg", "table", "div"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(page.matches(&opened).count(), page.matches(&closed).count(), "{tag}");
        }
        assert!(page.contains("1 devices have not come back"));
    }
}
