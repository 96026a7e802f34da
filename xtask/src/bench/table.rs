//! Tables that read well as text and are Markdown.

/// A heading, a note and a table, as one piece of Markdown.
pub(super) fn section(title: &str, note: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            // Names to the left, figures to the right.
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<_> = widths
        .iter()
        .enumerate()
        .map(
            |(column, &width)| {
                if column == 0 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) }
            },
        )
        .collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    let note = if note.is_empty() { String::new() } else { format!("{note}\n\n") };
    format!("## {title}\n\n{note}{}{}{body}\n", line(&head), line(&rule))
}

/// Milliseconds.
pub(super) fn ms(value: f64) -> String {
    format!("{value:.1}")
}

/// Milliseconds that nobody can tell from none here.
const NOISE: f64 = 0.5;

/// How many times `ours` goes into `theirs`; no figure where one drowns in the noise.
pub(super) fn times(theirs: f64, ours: f64) -> String {
    if theirs < 0.0 || ours < NOISE { "beyond measure".to_owned() } else { format!("{:.1}", theirs / ours) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let text = section(
            "T",
            "",
            &["name", "ms"],
            &[vec!["a".into(), "10.0".into()], vec!["longer".into(), "1.0".into()]],
        );
        let expected =
            "## T\n\n| name   |   ms |\n| ------ | ---: |\n| a      | 10.0 |\n| longer |  1.0 |\n\n";
        assert_eq!(text, expected);
    }
}
