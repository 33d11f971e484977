//! Combines the options of rules, their defaults and the configuration into the policies of series.

use std::time::Duration;

use strum::VariantArray;

use super::{Defaults, HistogramOptions, Mapping, ObserverType, Rule, RuleSpec, SummaryOptions};
use crate::model::{
    Exposition, Kind, NativeHistogram, NativeSettings, Percentile, Policy, PolicyId, Share, Statistics,
};
use crate::text::duration::GoDuration;

/// The growth of the buckets from which the percentiles of a window are computed. It selects the finest schema, whose
/// buckets grow by a factor of 1.0027.
const WINDOW_BUCKET_FACTOR: f64 = 1.001;

/// The largest number of these buckets, which take 16 bytes each. They cover values that differ by a factor of 65,000.
/// If a series has more, its buckets become coarser.
const WINDOW_BUCKETS: usize = 4096;

impl Mapping {
    /// Builds the policies of series, and stores in each rule the policy of its series. The policies are distinct and
    /// in the order of the rules. The last one applies to series without a rule.
    ///
    /// If neither a rule nor the rules' defaults set a field, its value comes from `fallback`. The values of histogram
    /// fields come from `histograms` instead, which must set all of them.
    #[must_use]
    pub fn build_policies(&mut self, fallback: &Policy, histograms: &HistogramOptions) -> Vec<Policy> {
        let unmatched = policy(fallback, histograms, &self.defaults, None);
        let mut policies = Vec::new();
        self.overflow_names.clear();
        for rule in &mut self.rules {
            let own = policy(fallback, histograms, &self.defaults, Some(&rule.spec));
            rule.policy = (own != unmatched).then(|| {
                let known = policies.iter().position(|known| *known == own);
                let index = known.unwrap_or_else(|| {
                    self.overflow_names.push(own.share.is_some().then(|| {
                        let mut name = rule.overflow_name();
                        self.shaping.prefix(&mut name);
                        name.into()
                    }));
                    policies.push(own);
                    policies.len() - 1
                });
                index as u32
            });
        }
        self.unmatched = policies.len() as u32;
        policies.push(unmatched);
        policies
    }

    /// Returns the policy that the matching rule gives to a series. Without a rule, it is that of unmatched series.
    pub(crate) fn policy_of(&self, rule: Option<&Rule>) -> PolicyId {
        PolicyId::new(rule.and_then(|rule| rule.policy).unwrap_or(self.unmatched))
    }

    /// Returns the name of the overflow series of a rule with `max_series`, by the policy of the rule. `None` means that
    /// each metric has an overflow series of its own.
    pub(crate) fn overflow_name(&self, policy: PolicyId) -> Option<&str> {
        self.overflow_names.get(policy.index())?.as_deref()
    }
}

/// Builds the policy for the series of a rule, or for series without a rule.
fn policy(
    fallback: &Policy,
    histograms: &HistogramOptions,
    defaults: &Defaults,
    rule: Option<&RuleSpec>,
) -> Policy {
    let exposition = match defaults.observer_type_of(rule) {
        ObserverType::Unset => fallback.exposition,
        ObserverType::Summary => Exposition::Summary,
        ObserverType::Histogram => Exposition::Histogram,
        ObserverType::Native => Exposition::Native,
    };
    let summary = rule.and_then(|rule| rule.summary_options.as_ref());
    let histogram = rule.and_then(|rule| rule.histogram_options.as_ref());
    let given = || [histogram, Some(&defaults.histogram_options)].into_iter().flatten();
    let bounds = match exposition {
        Exposition::Histogram => {
            let buckets = given().map(|options| &options.buckets).find(|buckets| !buckets.is_empty());
            buckets.unwrap_or(&histograms.buckets).clone()
        }
        Exposition::Summary | Exposition::Native => Vec::new(),
    };
    let factor = given().map(|options| options.native_histogram_bucket_factor).find(|factor| *factor > 0.0);
    let max_age = |options: &SummaryOptions| Some(options.max_age.0).filter(|age| !age.is_zero());
    let percentile_window = match exposition {
        Exposition::Summary => summary
            .and_then(max_age)
            .or_else(|| max_age(&defaults.summary_options))
            .unwrap_or(fallback.percentile_window),
        Exposition::Histogram | Exposition::Native => Duration::ZERO,
    };
    let factor = match exposition {
        // The exporter adds up the histograms of the window's intervals.
        Exposition::Summary => (!percentile_window.is_zero()).then_some(WINDOW_BUCKET_FACTOR),
        // A Prometheus that accepts native histograms drops the classic buckets, so only an explicit factor adds native
        // ones.
        Exposition::Histogram => factor,
        Exposition::Native => Some(factor.unwrap_or(histograms.native_histogram_bucket_factor)),
    };
    let max_buckets = given().map(|options| options.native_histogram_max_buckets).find(|limit| *limit > 0);
    let native = factor.map(|factor| NativeSettings {
        schema: NativeHistogram::schema_of(factor),
        max_buckets: match exposition {
            Exposition::Summary => WINDOW_BUCKETS,
            _ => max_buckets.unwrap_or(histograms.native_histogram_max_buckets) as usize,
        },
    });
    Policy {
        help: rule.map_or_else(Box::default, |rule| rule.help.as_str().into()),
        statistics: Statistics {
            percentiles: percentiles(summary, defaults)
                .unwrap_or_else(|| fallback.statistics.percentiles.clone()),
            bounds,
            native,
        },
        exposition,
        percentile_window,
        expire_after: lifetime(rule.and_then(|rule| rule.ttl), defaults)
            .map_or(fallback.expire_after, |lifetime| [lifetime; Kind::VARIANTS.len()]),
        share: rule.and_then(share),
    }
}

/// Returns the limit that the series of a rule share, if it has one.
fn share(rule: &RuleSpec) -> Option<Share> {
    let RuleSpec { pattern, match_metric_type, max_series, .. } = rule;
    // Two rules can have the same pattern, but then they match different types.
    let rule = format!("{pattern} {match_metric_type:?}").into();
    max_series.map(|max_series| Share { max_series, rule })
}

/// Returns the lifetime that a rule or the defaults of the rules set. As in `statsd_exporter`, a rule's 0 means never,
/// unless the defaults have a lifetime.
fn lifetime(ttl: Option<GoDuration>, defaults: &Defaults) -> Option<Duration> {
    let is_given = |ttl: &GoDuration| *ttl != GoDuration::default();
    match ttl.filter(is_given).or(Some(defaults.ttl).filter(is_given)) {
        // Lifetimes are whole seconds, so this rounds up.
        Some(GoDuration(time)) => Some(Duration::from_secs(time.as_secs_f64().ceil() as u64)),
        None => ttl.map(|_| Policy::NEVER),
    }
}

/// Returns the percentiles that a rule or the defaults of the rules set, in ascending order.
fn percentiles(summary: Option<&SummaryOptions>, defaults: &Defaults) -> Option<Vec<Percentile>> {
    let given = [summary, Some(&defaults.summary_options)].into_iter().flatten();
    let quantiles = given.map(|options| &options.quantiles).find(|quantiles| !quantiles.is_empty())?;
    // The product of 100 and 0.999 is not exactly 99.9, so it is rounded.
    let percent = |quantile: f64| (quantile * 1e12).round() / 1e10;
    let mut percentiles: Vec<_> =
        quantiles.iter().filter_map(|quantile| Percentile::new(percent(quantile.quantile))).collect();
    percentiles.sort_by(|a, b| a.percent().total_cmp(&b.percent()));
    percentiles.dedup();
    Some(percentiles)
}
