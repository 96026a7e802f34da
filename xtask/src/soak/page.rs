//! The part of docs/reliability.md that a run writes.

use std::fs;

use anyhow::{Context, Result};
use e2e::faults::FAULTS;
use e2e::soak::Row;

use super::Rows;

const BEGIN: &str = "<!-- Written by `cargo xtask soak --page`, from here -->\n";
const END: &str = "<!-- to here. -->\n";

/// Puts the figures in place of those of before.
pub(super) fn write(ours: &Rows, upstream: &Rows) -> Result<()> {
    let path = crate::root().join("docs/reliability.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = with_table(&page, &table(ours, upstream)).with_context(|| {
        format!("{} has no line {:?} before a line {:?}", path.display(), BEGIN.trim(), END.trim())
    })?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    crate::say(&format!("written to {}", path.display()));
    Ok(())
}

/// `None` when the page does not say where the table belongs.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

fn table(ours: &Rows, upstream: &Rows) -> String {
    let mut table = "| what happens while pods come and go | multus-rs: pods | what went wrong | ready, p95 / longest | Multus v4.3.0: pods | what went wrong | ready, p95 / longest |\n\
                     | --- | ---: | --- | ---: | ---: | --- | ---: |\n"
        .to_owned();
    for fault in &FAULTS {
        let cells = |rows: &Rows| rows.get(fault.name).map_or(" | not tried | |".to_owned(), cells);
        table += &format!("| {} | {} {}\n", fault.what, cells(ours), cells(upstream));
    }
    table
}

/// `pods | what | times |`
fn cells(row: &Row) -> String {
    format!(
        "{} | {} | {:.1} / {:.1} s |",
        row.pods,
        wrong(row),
        row.p95.as_secs_f32(),
        row.longest.as_secs_f32()
    )
}

fn wrong(row: &Row) -> String {
    let mut wrong = Vec::new();
    let counts = [
        (row.without_network, "without a network"),
        (row.never_ready, "never ready"),
        (row.wrong_status, "with a wrong status"),
        (row.stuck, "stuck"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        wrong.push(format!("**{count} {what}**"));
    }
    if !row.left.is_empty() {
        let left: Vec<_> = row.left.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        wrong.push(format!("left behind: {}", left.join(", ")));
    }
    if row.by_hand {
        wrong.push("configuration not restored".to_owned());
    }
    if row.slipped > 0 {
        wrong.push(format!("{} slipped through in the first second, and were reported", row.slipped));
    }
    if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("; ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            fault: name.to_owned(),
            pods: 7,
            never_ready: 0,
            without_network: 0,
            slipped: 0,
            wrong_status: 0,
            stuck: 0,
            left: [].into(),
            by_hand: false,
            longest: std::time::Duration::from_millis(2500),
            p95: std::time::Duration::from_secs(2),
            details: Vec::new(),
        }
    }

    #[test]
    fn each_fault_is_a_line_of_seven_cells_and_says_what_went_wrong() {
        let bad = Row { without_network: 3, left: [("leases".to_owned(), 9)].into(), ..row("none") };
        let rows = |row: Row| Rows::from([(row.fault.clone(), row)]);
        let table = table(&rows(row("none")), &rows(bad));
        assert_eq!(table.lines().count(), FAULTS.len() + 2);
        for line in table.lines() {
            assert_eq!(line.matches('|').count(), 8, "{line}");
        }
        assert!(
            table.contains(
                "| 7 | nothing | 2.0 / 2.5 s | 7 | **3 without a network**; left behind: 9 leases |"
            ),
            "{table}"
        );
    }

    #[test]
    fn the_table_replaces_the_one_of_before_and_nothing_else() {
        let page = format!("# Page\n\n{BEGIN}\nold\n\n{END}\nend\n");
        let once = with_table(&page, "| new |\n").unwrap();
        assert_eq!(once, format!("# Page\n\n{BEGIN}\n| new |\n\n{END}\nend\n"));
        assert!(with_table("no markers", "").is_none());
    }
}
