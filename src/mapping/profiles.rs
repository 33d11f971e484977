//! Reads the mapper profiles of the Datadog agent (`dogstatsd_mapper_profiles`) as rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::file::or_default;
use super::{MappingError, MatchType, RuleSpec};
use crate::text::yaml::{self, YamlError};

/// The mapper profiles in the configuration file of a Datadog agent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ProfilesFile {
    #[serde(default, rename = "dogstatsd_mapper_profiles")]
    profiles: Option<Vec<Spanned<Profile>>>,
}

impl ProfilesFile {
    /// Parses the file of a Datadog agent. Returns `None` if it is another file.
    pub(super) fn from_yaml(text: &str) -> Option<Result<Self, MappingError>> {
        // Other files need not be parsed twice.
        if !text.contains("dogstatsd_mapper_profiles") {
            return None;
        }
        match yaml::parse::<Self>(text) {
            Ok(file) => file.filter(|file| file.profiles.is_some()).map(Ok),
            Err(YamlError { line, problem }) => Some(Err(MappingError { line, rule: None, problem })),
        }
    }
}

/// A profile: rules for names that begin with a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Profile {
    #[serde(deserialize_with = "or_default")]
    name: String,
    /// The text, or `*` for all names.
    #[serde(deserialize_with = "or_default")]
    prefix: String,
    #[serde(deserialize_with = "or_default")]
    mappings: Vec<Spanned<ProfileRule>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProfileRule {
    #[serde(rename = "match", deserialize_with = "or_default")]
    pattern: String,
    #[serde(deserialize_with = "or_default")]
    match_type: ProfileMatchType,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProfileMatchType {
    /// `*` matches any text without a dot.
    #[default]
    #[serde(alias = "")]
    Wildcard,
    Regex,
}

/// A rule, or its problem in words. It comes with its line, from 1, and its pattern.
pub(super) struct FromProfile {
    pub(super) line: u64,
    pub(super) pattern: String,
    pub(super) rule: Result<RuleSpec, String>,
}

/// Returns the rules of profiles. The first one that matches applies, in the order of the file.
pub(super) fn rules(file: &ProfilesFile) -> Vec<FromProfile> {
    let mut rules = Vec::new();
    for Spanned { value: profile, referenced, .. } in file.profiles.iter().flatten() {
        let missing = [("name", &profile.name), ("prefix", &profile.prefix)]
            .into_iter()
            .find(|(_, text)| text.is_empty());
        if let Some((field, _)) = missing {
            let rule = Err(format!("the profile has no {field}; add one"));
            rules.push(FromProfile { line: referenced.line(), pattern: profile.name.clone(), rule });
        }
        rules.extend(profile.mappings.iter().map(|rule| FromProfile {
            line: rule.referenced.line(),
            pattern: rule.value.pattern.clone(),
            rule: rule.value.rule(&profile.prefix),
        }));
    }
    rules
}

impl ProfileRule {
    fn rule(&self, prefix: &str) -> Result<RuleSpec, String> {
        let Self { pattern, match_type, name, tags } = self;
        if pattern.is_empty() {
            return Err("the rule has no match; add one".to_owned());
        }
        if name.is_empty() {
            return Err("the rule has no name; add one".to_owned());
        }
        let expression = match match_type {
            ProfileMatchType::Regex => pattern.clone(),
            ProfileMatchType::Wildcard => expression_of(pattern)?,
        };
        Ok(RuleSpec {
            pattern: format!("^{expression}$"),
            match_type: Some(MatchType::Regex),
            match_prefix: if prefix == "*" { String::new() } else { prefix.to_owned() },
            name: name.clone(),
            labels: tags.clone(),
            ..RuleSpec::default()
        })
    }
}

/// Returns a wildcard pattern as a regular expression.
fn expression_of(pattern: &str) -> Result<String, String> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_*.".contains(letter);
    if !pattern.chars().all(is_allowed) {
        return Err("a wildcard pattern has letters, digits, \"-\", \"_\", \".\" and \"*\"; for a regular expression, add \
                    match_type: regex"
            .to_owned());
    }
    if pattern.contains("**") {
        return Err("\"**\" is the same as \"*\"; write \"*\"".to_owned());
    }
    Ok(pattern.replace('.', r"\.").replace('*', "([^.]*)"))
}
