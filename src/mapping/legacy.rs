//! Reads the spellings of earlier versions of `statsd_exporter`: before 0.15, `buckets` and `quantiles` were fields of
//! a rule, and before 0.20 of the defaults. Version 0.28 was the last that read them.

use super::{Defaults, HistogramOptions, ObserverType, Quantile, RuleSpec, SummaryOptions};

impl Defaults {
    /// Moves the values of former fields to the fields of today. Returns a warning in words for each of them.
    pub(super) fn modernize(&mut self) -> Vec<String> {
        let (buckets, quantiles) = (std::mem::take(&mut self.buckets), std::mem::take(&mut self.quantiles));
        let mut warnings = Vec::new();
        if !buckets.is_empty() {
            warnings.push(moved_to_histogram_options(&buckets));
            // As in statsd_exporter, the new spelling wins.
            if self.histogram_options.buckets.is_empty() {
                self.histogram_options.buckets = buckets;
            }
        }
        if !quantiles.is_empty() {
            warnings.push(moved_to_summary_options(&quantiles));
            if self.summary_options.quantiles.is_empty() {
                self.summary_options.quantiles = quantiles;
            }
        }
        warnings
    }
}

impl RuleSpec {
    /// Moves the values of former fields to the fields of today, and appends a warning in words for each of them. As in
    /// `statsd_exporter`, buckets of a summary and quantiles of a histogram have no effect.
    ///
    /// # Errors
    ///
    /// Returns the fault in words if the rule has both spellings.
    pub(super) fn modernize(
        &mut self,
        defaults: &Defaults,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let (buckets, quantiles) = (std::mem::take(&mut self.buckets), std::mem::take(&mut self.quantiles));
        let observer_type = defaults.observer_type_of(Some(self));
        if !buckets.is_empty() {
            if matches!(observer_type, ObserverType::Unset | ObserverType::Histogram) {
                warnings.push(moved_to_histogram_options(&buckets));
                let options = self.histogram_options.get_or_insert_with(HistogramOptions::default);
                refuse_both("buckets", "histogram_options", options.buckets.is_empty())?;
                options.buckets = buckets;
            } else {
                warnings.push(
                    "buckets have no effect, because the rule shows no histogram; remove them".to_owned(),
                );
            }
        }
        if !quantiles.is_empty() {
            if matches!(observer_type, ObserverType::Unset | ObserverType::Summary) {
                warnings.push(moved_to_summary_options(&quantiles));
                let options = self.summary_options.get_or_insert_with(SummaryOptions::default);
                refuse_both("quantiles", "summary_options", options.quantiles.is_empty())?;
                options.quantiles = quantiles;
            } else {
                warnings.push(
                    "quantiles have no effect, because the rule shows no summary; remove them".to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn refuse_both(field: &str, options: &str, is_empty: bool) -> Result<(), String> {
    if is_empty {
        Ok(())
    } else {
        Err(format!("{field} are in the rule and in its {options}; keep those in {options}"))
    }
}

fn moved_to_histogram_options(buckets: &[f64]) -> String {
    let buckets = list(buckets.iter().map(ToString::to_string));
    format!("buckets is a former spelling; write histogram_options: {{buckets: [{buckets}]}}")
}

fn moved_to_summary_options(quantiles: &[Quantile]) -> String {
    let quantiles = list(quantiles.iter().map(|quantile| format!("{{quantile: {}}}", quantile.quantile)));
    format!("quantiles is a former spelling; write summary_options: {{quantiles: [{quantiles}]}}")
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Mapping;

    #[test]
    fn former_spellings_mean_the_same_as_those_of_today() {
        let former = "\
defaults:
  timer_type: histogram
  buckets: [1, 2]
  quantiles: [{quantile: 0.5, error: 0.1}]
mappings:
- match: a.*
  name: a
  buckets: [3, 4]
- match: b.*
  name: b
  timer_type: summary
  quantiles: [{quantile: 0.99}]
- match: c.*
  name: c
  quantiles: [{quantile: 0.9}]
";
        let today = "\
defaults:
  observer_type: histogram
  histogram_options: {buckets: [1, 2]}
  summary_options: {quantiles: [{quantile: 0.5, error: 0.1}]}
mappings:
- match: a.*
  name: a
  histogram_options: {buckets: [3, 4]}
- match: b.*
  name: b
  observer_type: summary
  summary_options: {quantiles: [{quantile: 0.99}]}
- match: c.*
  name: c
";
        let (former, today) = (Mapping::from_yaml(former).unwrap(), Mapping::from_yaml(today).unwrap());
        assert_eq!(former, today);
        assert_eq!(today.warnings(), []);
        let warnings: Vec<_> = former.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "defaults: buckets is a former spelling; write histogram_options: {buckets: [1, 2]}",
                "defaults: quantiles is a former spelling; write summary_options: {quantiles: [{quantile: 0.5}]}",
                "line 6: rule 1 (\"a.*\"): buckets is a former spelling; write histogram_options: {buckets: [3, 4]}",
                "line 9: rule 2 (\"b.*\"): quantiles is a former spelling; write summary_options: {quantiles: [{quantile: 0.99}]}",
                "line 13: rule 3 (\"c.*\"): quantiles have no effect, because the rule shows no summary; remove them",
            ]
        );
    }

    #[test]
    fn a_rule_with_both_spellings_is_refused() {
        let yaml = "mappings:\n- match: a\n  name: a\n  buckets: [1]\n  histogram_options: {buckets: [2]}\n";
        let error = Mapping::from_yaml(yaml).unwrap_err().to_string();
        assert!(error.contains("keep those in histogram_options"), "{error}");
    }
}
