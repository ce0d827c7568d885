//! What a chart is drawn with: axes, marks, texts.

use std::fmt::Write;

use crate::compare::render::words::plain;

/// Characters of HTML as themselves.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Values along a line of the drawing.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// From 0 to `high`, with room above it.
    pub fn linear(high: f64, from: f64, to: f64) -> Self {
        let high = if high > 0.0 { high * 1.04 } else { 1.0 };
        Self {
            low: 0.0,
            high,
            logarithmic: false,
            from,
            to,
        }
    }

    /// From `low` to `high`, both above 0, with room around them.
    pub fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Self {
        let room = (high / low).powf(0.04).max(1.05);
        Self {
            low: low / room,
            high: high * room,
            logarithmic: true,
            from,
            to,
        }
    }

    /// Logarithmic when `values` are above 0 and some are `factor` times as large as others.
    pub fn over(values: &[f64], factor: f64, from: f64, to: f64) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        if low > 0.0 && high >= low * factor {
            Self::logarithmic(low, high, from, to)
        } else {
            Self::linear(high, from, to)
        }
    }

    /// Whether it is logarithmic.
    pub fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// Where `value` is drawn; at the end it is beyond.
    pub fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values within it, few enough to be labelled.
    pub fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = match decades {
                d if d > 3.0 => &[1.0],
                d if d > 0.7 => &[1.0, 2.0, 5.0],
                _ => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            };
            return self.rounded(steps);
        }
        let rough = (self.high - self.low) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
        let step = step.into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let ticks = (0..20_u8).map(|at| f64::from(at) * step);
        ticks.take_while(|tick| *tick <= self.high).collect()
    }

    fn rounded(&self, steps: &[f64]) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut power = 10_f64.powf(self.low.log10().floor());
        while power <= self.high {
            ticks.extend(steps.iter().map(|step| step * power));
            power *= 10.0;
        }
        ticks.retain(|tick| (self.low..=self.high).contains(tick));
        ticks
    }
}

/// Which point of a text stands where it is put.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A chart under the pen.
#[derive(Debug)]
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.put(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    pub fn curve(&mut self, points: &[(f64, f64)], class: &str) {
        let points = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let points = points.collect::<Vec<_>>().join(" ");
        self.put(format_args!(
            r#"<polyline points="{points}" class="{class}"/>"#
        ));
    }

    /// The mark of the wall at `wall`: each wall has a shape and a colour.
    pub fn mark(&mut self, wall: usize, at: (f64, f64), size: f64, class: &str) {
        let shape = shape(wall, at, size, class);
        self.put(format_args!("{shape}"));
    }

    /// A square in the colour of the wall at `wall`, whatever that one's shape is.
    pub fn square(&mut self, wall: usize, at: (f64, f64), size: f64, class: &str) {
        let shape = marker(1, at, size, &format!("{} {class}", colour(wall)));
        self.put(format_args!("{shape}"));
    }

    /// Anything else.
    pub fn put(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("a String takes everything");
    }

    /// The figure, with `caption` as its text for those who do not see it too.
    pub fn figure(self, caption: &str) -> String {
        let caption = escape(caption);
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            "<figure>\n<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{caption}\">\n\
             {body}</svg>\n<figcaption>{caption}</figcaption>\n</figure>\n"
        )
    }
}

/// The class that colours the wall at `wall`.
pub fn colour(wall: usize) -> String {
    format!("w{}", wall % 4)
}

/// The wall's shape as an element: circle, square, triangle, diamond.
pub fn shape(wall: usize, (x, y): (f64, f64), size: f64, class: &str) -> String {
    marker(wall, (x, y), size, &format!("{} {class}", colour(wall)))
}

/// The shape in the colour that `class` says.
fn marker(shape: usize, (x, y): (f64, f64), r: f64, class: &str) -> String {
    let points: &[(f64, f64)] = match shape % 4 {
        0 => return format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{r:.1}" class="{class}"/>"#),
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)],
        _ => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
    };
    let points = points
        .iter()
        .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r));
    let points = points.collect::<Vec<_>>().join(" ");
    format!(r#"<polygon points="{points}" class="{class}"/>"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            Axis::linear(48.0, 0.0, 1.0).ticks(),
            [0.0, 10.0, 20.0, 30.0, 40.0]
        );
        let log = Axis::logarithmic(0.4, 30.0, 0.0, 1.0);
        assert_eq!(log.ticks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        for high in [1e-9, 0.07, 1.0, 3.3, 1e12] {
            assert!(
                (3..=8).contains(&Axis::linear(high, 0.0, 1.0).ticks().len()),
                "{high}"
            );
        }
    }

    #[test]
    fn what_is_beyond_an_axis_is_at_its_end() {
        let axis = Axis::logarithmic(0.5, 2.0, 100.0, 200.0);
        assert_eq!(axis.place(f64::INFINITY), 200.0);
        assert_eq!(axis.place(0.0), 100.0);
        assert!((axis.place(1.0) - 150.0).abs() < 1e-9);
        assert!(
            Axis::over(&[0.0, 0.0], 5.0, 0.0, 1.0)
                .place(0.0)
                .is_finite()
        );
    }
}
