use std::fmt::Write;

/// A line of a figure.
pub(super) struct Line<'a> {
    pub(super) label: &'a str,
    pub(super) colour: &'a str,
    /// One value for each minute.
    pub(super) values: Vec<f64>,
}

/// Draws lines over the minutes of a run, as SVG. `height` is the largest value that is shown.
pub(super) fn draw(title: &str, unit: &str, height: f64, lines: &[Line<'_>]) -> String {
    let minutes = lines
        .iter()
        .map(|line| line.values.len())
        .max()
        .unwrap_or(1)
        .max(2);
    let x = |minute: usize| LEFT + (WIDTH - LEFT - RIGHT) * minute as f64 / (minutes - 1) as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value / height).clamp(0.0, 1.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
    );
    let mut add = |text: String| writeln!(svg, "{text}").expect("a string must be writable");
    for step in 0..=4 {
        let value = height * f64::from(step) / 4.0;
        let at = y(value);
        add(format!(
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
            WIDTH - RIGHT
        ));
        add(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    for minute in (0..minutes).step_by(60) {
        let (at, below, hour) = (x(minute), HEIGHT - BOTTOM + 16.0, minute / 60);
        add(format!(
            "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{hour} h</text>"
        ));
    }
    add(format!(
        "<text x=\"{:.1}\" y=\"18\" text-anchor=\"end\" fill=\"#555\">{unit}</text>",
        WIDTH - RIGHT
    ));
    for (number, line) in lines.iter().enumerate() {
        let points = line.values.iter().enumerate();
        let points: Vec<String> = points
            .map(|(minute, value)| format!("{:.1},{:.1}", x(minute), y(*value)))
            .collect();
        let colour = line.colour;
        add(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            points.join(" ")
        ));
        let at = TOP + 14.0 + 16.0 * number as f64;
        add(format!(
            "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT - 8.0,
            line.label
        ));
    }
    svg + "</svg>\n"
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;
