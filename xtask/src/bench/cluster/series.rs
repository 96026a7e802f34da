//! Figures of one kind, in the order in which they were taken.

use std::time::Duration;

/// Milliseconds, or whatever else is measured several times.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) fn add(&mut self, sample: Duration) {
        self.push(sample.as_secs_f64() * 1000.0);
    }

    pub(super) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Differences of figures that belong together.
    pub(super) fn minus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own - other).collect())
    }

    /// The figure below which `share` of all lie.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    /// Half of the range in which the median would lie in 19 of 20 runs like this one, by the ranks of the figures (the sign test's
    /// interval, which asks nothing of how they are spread).
    pub(super) fn give(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss)]
        let count = sorted.len() as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let low = ((count - 1.96 * count.sqrt()) / 2.0).floor().max(1.0) as usize;
        match (sorted.get(low - 1), sorted.get(sorted.len() - low)) {
            (Some(low), Some(high)) => (high - low) / 2.0,
            _ => f64::NAN,
        }
    }

    /// p50 / p95.
    pub(super) fn spread(&self) -> String {
        format!("{:.1} / {:.1}", self.median(), self.quantile(0.95))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(figures: &[f64]) -> Series {
        Series(figures.to_vec())
    }

    #[test]
    fn differences_are_of_the_same_round() {
        let ours = series(&[5.0, 105.0, 6.0]);
        let alone = series(&[4.0, 103.0, 3.0]);
        let beyond = ours.minus(&alone);
        assert_eq!(beyond, series(&[1.0, 2.0, 3.0]));
        assert!((beyond.median() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_give_of_a_median_is_by_rank() {
        // Of 30 figures the 9th and the 22nd, whatever the others are.
        let mut figures: Vec<f64> = (1..=30).map(f64::from).collect();
        figures[29] = 1000.0;
        assert!((series(&figures).give() - 6.5).abs() < 1e-9);
        // Few tell nothing that they do not span.
        assert!((series(&[1.0, 4.0, 3.0]).give() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_median_of_two_lies_between_them() {
        assert!((series(&[1.0, 2.0]).median() - 1.5).abs() < 1e-9);
        assert!(series(&[]).median().is_nan());
        assert_eq!(series(&[1.0, 2.0, 30.0]).spread(), "2.0 / 30.0");
    }
}
