//! What the options of rules, their defaults and the configuration together want of series.

use std::time::Duration;

use super::{Defaults, HistogramOptions, Mapped, Mapping, ObserverType, RuleText, SummaryOptions};
use crate::model::{
    Exposition, Kind, NativeHistogram, NativeSettings, Percentile, Policy, PolicyId, Statistics,
};
use crate::text::duration::GoDuration;

impl Mapping {
    /// The policies of series that these rules name, in the order of the rules and each of them once; at the end that of
    /// series without a rule. What neither a rule nor the defaults of the rules say is as in `fallback`, and for histograms
    /// as in `histograms`, where nothing is left open.
    #[must_use]
    pub fn govern(&mut self, fallback: &Policy, histograms: &HistogramOptions) -> Vec<Policy> {
        let of_no_rule = policy(fallback, histograms, &self.defaults, None);
        let mut policies = Vec::new();
        for rule in &mut self.rules {
            let own = policy(fallback, histograms, &self.defaults, Some(&rule.text));
            let known = policies.iter().position(|known| *known == own);
            // u32::MAX stands for the last one, whose number is not known yet.
            rule.policy = known.map_or(u32::MAX, |number| number as u32);
            if known.is_none() && own != of_no_rule {
                rule.policy = policies.len() as u32;
                policies.push(own);
            }
        }
        self.unmatched = policies.len() as u32;
        policies.push(of_no_rule);
        self.rules.iter_mut().for_each(|rule| rule.policy = rule.policy.min(self.unmatched));
        policies
    }

    /// Returns the id of the policy that a series gets from the rule that matches its samples, or from none.
    pub(crate) fn policy_of(&self, mapped: Option<&Mapped<'_>>) -> PolicyId {
        PolicyId::new(mapped.map_or(self.unmatched, |mapped| mapped.rule.policy))
    }
}

fn policy(
    fallback: &Policy,
    histograms: &HistogramOptions,
    defaults: &Defaults,
    rule: Option<&RuleText>,
) -> Policy {
    let observer_type = match rule.map(|rule| rule.observer_type) {
        None | Some(ObserverType::Unset) => defaults.observer_type,
        Some(given) => given,
    };
    let form = match observer_type {
        ObserverType::Unset => fallback.exposition,
        ObserverType::Summary => Exposition::Summary,
        ObserverType::Histogram => Exposition::Histogram,
        ObserverType::Native => Exposition::Native,
    };
    let summary = rule.and_then(|rule| rule.summary_options.as_ref());
    let histogram = rule.and_then(|rule| rule.histogram_options.as_ref());
    let given = || [histogram, Some(&defaults.histogram_options)].into_iter().flatten();
    let bounds = match form {
        Exposition::Histogram => {
            let buckets = given().map(|options| &options.buckets).find(|buckets| !buckets.is_empty());
            buckets.unwrap_or(&histograms.buckets).clone()
        }
        Exposition::Summary | Exposition::Native => Vec::new(),
    };
    let factor = given().map(|options| options.native_histogram_bucket_factor).find(|factor| *factor > 0.0);
    let factor = match form {
        Exposition::Summary => None,
        // Prometheus keeps the native one of the two, if it takes it: so it is there where it is asked for.
        Exposition::Histogram => factor,
        Exposition::Native => Some(factor.unwrap_or(histograms.native_histogram_bucket_factor)),
    };
    let max_buckets = given().map(|options| options.native_histogram_max_buckets).find(|limit| *limit > 0);
    let native = factor.map(|factor| NativeSettings {
        schema: NativeHistogram::schema_of(factor),
        max_buckets: max_buckets.unwrap_or(histograms.native_histogram_max_buckets) as usize,
    });
    let ttl = rule.map(|rule| rule.ttl).filter(|ttl| *ttl != GoDuration::default()).unwrap_or(defaults.ttl);
    Policy {
        help: rule.map_or_else(Box::default, |rule| rule.help.as_str().into()),
        statistics: Statistics {
            percentiles: percentiles(summary, defaults)
                .unwrap_or_else(|| fallback.statistics.percentiles.clone()),
            bounds,
            native,
        },
        exposition: form,
        expire_after: if ttl == GoDuration::default() {
            fallback.expire_after
        } else {
            // Series are remembered for whole seconds.
            [Duration::from_secs(ttl.0.as_secs_f64().ceil() as u64); Kind::ALL.len()]
        },
    }
}

/// Those that a rule or the defaults of the rules ask for, in ascending order.
fn percentiles(summary: Option<&SummaryOptions>, defaults: &Defaults) -> Option<Vec<Percentile>> {
    let given = [summary, Some(&defaults.summary_options)].into_iter().flatten();
    let quantiles = given.map(|options| &options.quantiles).find(|quantiles| !quantiles.is_empty())?;
    // 0.999 as 99.9, not as the product of two f64, which has more digits.
    let percent = |quantile: f64| (quantile * 1e12).round() / 1e10;
    let mut percentiles: Vec<_> =
        quantiles.iter().filter_map(|quantile| Percentile::new(percent(quantile.quantile))).collect();
    percentiles.sort_by(|a, b| a.percent().total_cmp(&b.percent()));
    percentiles.dedup();
    Some(percentiles)
}
