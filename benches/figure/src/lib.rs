//! The figures of the project's pages: lines over a scale, as SVG.

use std::fmt::Write;

/// Lines over a common scale.
#[derive(Debug)]
pub struct Figure<'a> {
    /// What the figure shows.
    pub title: &'a str,
    /// What the values are.
    pub unit: &'a str,
    /// Places and labels of the horizontal scale. A place is the index of a value.
    pub scale: Vec<(usize, String)>,
    /// The lines. The values of each are at equal distances, in the order of the scale.
    pub lines: Vec<Line<'a>>,
}

/// A line of a figure.
#[derive(Debug)]
pub struct Line<'a> {
    /// What the line stands for.
    pub label: &'a str,
    /// A colour of CSS.
    pub colour: &'a str,
    /// One value for each place. A value that is not a number interrupts the line.
    pub values: Vec<f64>,
}

impl Figure<'_> {
    /// Draws the figure as an SVG document. Zero is at the bottom, and the highest value fits.
    pub fn draw(&self) -> String {
        let values = self.lines.iter().flat_map(|line| &line.values);
        let height = round_up(values.copied().fold(0.0, f64::max));
        let places = self.lines.iter().map(|line| line.values.len()).max();
        let last = places.unwrap_or_default().max(2) - 1;
        let x = |place: usize| LEFT + (WIDTH - LEFT - RIGHT) * place as f64 / last as f64;
        let y =
            |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value / height).clamp(0.0, 1.0));
        let title = self.title;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
        );
        let mut add = |text: String| writeln!(svg, "{text}").expect("a string must be writable");
        let digits = if height < 4.0 { 2 } else { 0 };
        for step in 0..=4 {
            let value = height * f64::from(step) / 4.0;
            let at = y(value);
            add(format!(
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
                WIDTH - RIGHT
            ));
            add(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.digits$}</text>",
                LEFT - 6.0,
                at + 4.0
            ));
        }
        for (place, label) in &self.scale {
            let (at, below) = (x(*place), HEIGHT - BOTTOM + 16.0);
            // The last one would leave the figure.
            let anchor = if *place == last { "end" } else { "middle" };
            add(format!(
                "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"{anchor}\">{label}</text>"
            ));
        }
        add(format!(
            "<text x=\"{:.1}\" y=\"18\" text-anchor=\"end\" fill=\"#555\">{}</text>",
            WIDTH - RIGHT,
            self.unit
        ));
        for (number, line) in self.lines.iter().enumerate() {
            let places: Vec<(usize, f64)> = line.values.iter().copied().enumerate().collect();
            let colour = line.colour;
            for part in places.split(|(_place, value)| value.is_nan()) {
                let points = part
                    .iter()
                    .map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value)));
                add(format!(
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
                    points.collect::<Vec<_>>().join(" ")
                ));
            }
            let at = TOP + 14.0 + 16.0 * number as f64;
            add(format!(
                "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
                WIDTH - RIGHT - 8.0,
                line.label
            ));
        }
        svg + "</svg>\n"
    }
}

/// The next of the numbers that are easily divided by four; 4 for a figure in which nothing happens.
fn round_up(value: f64) -> f64 {
    if value == 0.0 {
        return 4.0;
    }
    let scales = (-1..9).map(|exponent| 10_f64.powi(exponent));
    let mut steps = scales.flat_map(|scale| [4.0, 8.0, 12.0, 20.0].map(|step| step * scale));
    steps.find(|step| value <= *step).unwrap_or(value)
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_fits_and_a_gap_interrupts_the_line() {
        let line = Line {
            label: "pods",
            colour: "#1f5fa8",
            values: vec![0.0, 5.0, f64::NAN, 8.0],
        };
        let svg = Figure {
            title: "Pods",
            unit: "of 8",
            scale: vec![(0, "0 h".to_owned()), (3, "3 h".to_owned())],
            lines: vec![line],
        }
        .draw();
        assert!(svg.contains("points=\"56.0,194.0 272.0,91.5\""), "{svg}");
        assert!(svg.contains("points=\"704.0,30.0\""), "{svg}");
        assert!(
            svg.contains(">0 h</text>") && svg.contains(">8</text>"),
            "{svg}"
        );
    }
}
