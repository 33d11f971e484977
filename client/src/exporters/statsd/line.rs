//! Writes a sample as a line of the protocol: `component.name:value|type|@rate|#key:value,key:value`.

use crate::exporters::text::{Part, push, push_metric_name, push_tags};
use crate::sample::{Sample, Value};

/// Writes the line of a sample. No text in the sample can end the line or start another line.
///
/// A negative gauge takes two lines, because servers add a value with a sign to the gauge. The first line sets the
/// gauge to 0, and the second line adds the negative value. Both lines must be in one datagram.
pub(super) fn push_lines(lines: &mut String, name_prefix: &str, sample: &Sample<'_>, rate: f64) {
    if matches!(sample.value, Value::Gauge(value) if value < 0.0) {
        push_line(lines, name_prefix, sample, Value::Gauge(0.0), rate);
        lines.push('\n');
    }
    push_line(lines, name_prefix, sample, sample.value, rate);
}

fn push_line(line: &mut String, name_prefix: &str, sample: &Sample<'_>, value: Value<'_>, rate: f64) {
    push_metric_name(line, name_prefix, sample);
    line.push(':');
    match value {
        Value::Counter(value) => line.push_str(itoa::Buffer::new().format(value)),
        Value::Gauge(value) | Value::Timing(value) | Value::Histogram(value) | Value::Distribution(value) => {
            push_number(line, value);
        }
        Value::Set(member) => push(line, member, Part::Member),
    }
    line.push('|');
    line.push_str(value.wire_type());
    if rate < 1.0 {
        line.push_str("|@");
        push_number(line, rate);
    }
    push_tags(line, "|#", sample);
}

/// Appends the shortest text that reads back as the same number: `16` rather than `16.0`, `1e20` rather than twenty
/// zeros.
fn push_number(line: &mut String, number: f64) {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        line.push_str(itoa::Buffer::new().format(number as i64));
    } else {
        line.push_str(zmij::Buffer::new().format_finite(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Rate, Tag, Tags};

    fn line(prefix: &str, name: &str, value: Value<'_>, rate: f64, tags: &[Tag<'_>]) -> String {
        let tags = [Tags::NONE, Tags::NONE, Tags::Borrowed(tags), Tags::NONE];
        let mut line = String::new();
        let sample = Sample { component: "Parser", name, value, tags, rate: Rate::Sent(rate), calls: 1 };
        push_lines(&mut line, prefix, &sample, rate);
        line
    }

    #[test]
    fn value_is_written_with_its_type() {
        let cases = [
            (Value::Counter(u64::MAX), "Parser.n:18446744073709551615|c"),
            (Value::Gauge(17.0), "Parser.n:17|g"),
            (Value::Gauge(-0.5), "Parser.n:0|g\nParser.n:-0.5|g"),
            (Value::Gauge(-0.0), "Parser.n:0|g"),
            (Value::Timing(12.5), "Parser.n:12.5|ms"),
            (Value::Timing(1e-6), "Parser.n:1e-6|ms"),
            (Value::Histogram(1e20), "Parser.n:1e+20|h"),
            (Value::Distribution(0.1), "Parser.n:0.1|d"),
            (Value::Set("ann:1"), "Parser.n:ann:1|s"),
        ];
        for (value, expected) in cases {
            assert_eq!(line("", "n", value, 1.0, &[]), expected);
        }
    }

    #[test]
    fn prefix_rate_and_tags_surround_the_value() {
        let tags = [("source", "upload"), ("empty", "")];
        assert_eq!(
            line("shop.", "n", Value::Counter(1), 0.1, &tags),
            "shop.Parser.n:1|c|@0.1|#source:upload,empty:"
        );
    }

    #[test]
    fn character_that_would_end_a_part_becomes_an_underscore() {
        let tags = [("a:b,c|d\n", "x:y,z|\n#@")];
        assert_eq!(
            line("", "a:b|c\nd@e#f,g;h=i[j]{k}", Value::Set("a|b\nc"), 1.0, &tags),
            "Parser.a_b_c_d_e_f_g_h_i_j__k_:a_b_c|s|#a_b_c_d_:x:y_z__#@"
        );
        assert_eq!(
            line("", "größe", Value::Counter(1), 1.0, &[("stra|ße", "ü")]),
            "Parser.größe:1|c|#stra_ße:ü"
        );
    }
}
