//! A small pipeline that reads résumés, instrumented with `tallyd-client` like a real application.
//!
//! ```text
//!  file --> parse --> extract candidate --> ask the model for skills --> profile
//! ```
//!
//! The language model is simulated: it sleeps for a while and sometimes fails. `make demo` runs this example with
//! tallyd and Prometheus. `cargo run --example resume_pipeline -- --seconds 10` runs it alone. It sends to
//! 127.0.0.1:8125 unless `TALLYD_CLIENT_STATSD_ADDRESS` names another address.

use std::error::Error;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use tallyd_client::{Config, MetricsCollector, timed};

/// The names and skills in the made-up résumés. A real application would read files.
const NAMES: [&str; 4] = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra"];
const SKILLS: [&str; 6] = ["analysis", "compilers", "cryptography", "proofs", "poetry", "navigation"];

static PARSER: MetricsCollector = MetricsCollector::new("ResumeParser");
static MODEL: MetricsCollector = MetricsCollector::new("LanguageModel");

/// A résumé as a user uploaded it.
struct Upload {
    text: String,
    source: &'static str,
}

/// A candidate's data, borrowed from the résumé.
struct Candidate<'a> {
    name: &'a str,
    /// The skills as the candidate lists them.
    claims: &'a str,
}

#[derive(Debug)]
enum ResumeError {
    /// The résumé has no name.
    Nameless,
    /// The model did not answer.
    Overloaded,
}

impl fmt::Display for ResumeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nameless => "the résumé has no name",
            Self::Overloaded => "the model is overloaded",
        })
    }
}

impl Error for ResumeError {}

struct ResumeParser {
    model: LanguageModel,
}

impl ResumeParser {
    /// Sends the timing `ResumeParser.process.execution_time`, with the outcome as a tag.
    #[timed(outcome)]
    fn process(&self, upload: &Upload) -> Result<usize, ResumeError> {
        PARSER.increment_counter("resumes.processed", 1, &[("source", upload.source)]);
        PARSER.record_histogram("resume.bytes", upload.text.len(), &[]);
        let candidate = Self::extract_candidate(&upload.text)?;
        PARSER.record_set("candidates", candidate.name, &[]);
        let skills = self.model.extract_skills(candidate.claims)?;
        // PromQL divides these two counters.
        PARSER.increment_counter("skills.found", skills as u64, &[]);
        PARSER.increment_counter("skills.claimed", candidate.claims.split(", ").count() as u64, &[]);
        Ok(skills)
    }

    #[timed(component = "ResumeParser", metric_name = "extract_candidate_data.time", tags(source = "resume"))]
    fn extract_candidate(text: &str) -> Result<Candidate<'_>, ResumeError> {
        let (name, claims) =
            text.split_once(": ").filter(|(name, _)| !name.is_empty()).ok_or(ResumeError::Nameless)?;
        Ok(Candidate { name, claims })
    }
}

struct LanguageModel;

impl LanguageModel {
    /// Returns how many of the skills the model recognizes.
    #[timed(metric_name = "call.latency", outcome)]
    fn extract_skills(&self, claims: &str) -> Result<usize, ResumeError> {
        MODEL.increment_counter("calls", 1, &[("model", "simulated")]);
        // Most answers take less than 20 ms; one in twenty takes 80 to 200 ms.
        let milliseconds =
            if fastrand::u8(..20) == 0 { fastrand::u64(80..200) } else { fastrand::u64(5..20) };
        thread::sleep(Duration::from_millis(milliseconds));
        if fastrand::u8(..50) == 0 {
            return Err(ResumeError::Overloaded);
        }
        Ok(claims.split(", ").filter(|claim| SKILLS.contains(claim)).count())
    }
}

/// Returns a random résumé; one in thirty has no name.
fn upload() -> Upload {
    let name = if fastrand::u8(..30) == 0 { "" } else { NAMES[fastrand::usize(..NAMES.len())] };
    let claims: Vec<_> = (0..=fastrand::usize(..4))
        .map(|_| SKILLS.get(fastrand::usize(..=SKILLS.len())).copied().unwrap_or("juggling"))
        .collect();
    let source = if fastrand::bool() { "upload" } else { "mail" };
    Upload { text: format!("{name}: {}", claims.join(", ")), source }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let seconds = match &arguments[..] {
        [] => 10,
        [option, seconds] if option == "--seconds" => seconds.parse()?,
        _ => return Err("usage: resume_pipeline [--seconds N]".into()),
    };
    // The environment overrides the application's own configuration.
    let config = Config::new().tag("app", "resumes");
    tallyd_client::configure(&Config::from_env()?.merged_over(config))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let done = thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(move || work(end))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum::<usize>()
    });
    tallyd_client::flush();
    println!("{done} résumés were processed and {} samples were lost", tallyd_client::lost());
    Ok(())
}

/// Processes résumés until `end` and returns their number.
fn work(end: Instant) -> usize {
    let parser = ResumeParser { model: LanguageModel };
    let mut done = 0;
    while Instant::now() < end {
        // The metrics count failures.
        _ = parser.process(&upload());
        done += 1;
        PARSER.record_gauge("seconds.left", end.saturating_duration_since(Instant::now()).as_secs(), &[]);
    }
    done
}
