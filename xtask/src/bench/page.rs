//! The published figures: a part of a page in docs/ that only a whole run writes.

use std::fs;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- Written by `cargo xtask bench`, from here -->\n";
const END: &str = "<!-- to here. -->\n";

/// Puts the report in place of the one of before.
pub(super) fn publish(page: &str, report: &str) -> Result<()> {
    let path = crate::root().join(page);
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = with_report(&page, report).with_context(|| {
        format!("{} has no line {:?} before a line {:?}", path.display(), BEGIN.trim(), END.trim())
    })?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    crate::say(&format!("Written to {}", path.display()));
    Ok(())
}

/// `None` when the page does not say where the report belongs.
fn with_report(page: &str, report: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    // The page has a title of its own, so that all headings move down.
    let demoted = format!("\n{report}").replace("\n#", "\n##");
    Some(format!("{before}{BEGIN}{}\n\n{END}{after}", demoted.trim_end()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_report_replaces_the_one_of_before_and_nothing_else() {
        let page = format!("# Page\n\ntext\n\n{BEGIN}\nold\n\n{END}\nend\n");
        let once = with_report(&page, "# R\n\nnew\n\n## S\n").unwrap();
        assert_eq!(once, format!("# Page\n\ntext\n\n{BEGIN}\n## R\n\nnew\n\n### S\n\n{END}\nend\n"));
        assert_eq!(with_report(&once, "# R\n\nnew\n\n## S\n").unwrap(), once);
        assert!(with_report("no markers", "r").is_none());
    }
}
