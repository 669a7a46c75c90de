//! The solver: a program that is asked one question a run, in SMT-LIB on its standard input.
//!
//! A fresh process for each question, ended after a while whatever it does: limits that solvers take as options are kept by
//! some builds of them and not by others.

use std::ffi::OsString;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cedar_policy_symcc::SmtLibScript as _;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, SolverError};

/// Longest answer that is read: models of our schema are a few kilobytes.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// How often a running solver is looked at.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// Answers a script of SMT-LIB.
pub trait Solver {
    /// All that it prints.
    ///
    /// # Errors
    /// [`Trouble`] if it gave no answer.
    fn answer(&self, script: &str) -> Result<String, Trouble>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("there is no solver: {program:?} cannot be started: {why}")]
    Absent { program: OsString, why: io::Error },
    #[error("the solver had not answered after {after:?}")]
    TooLate { after: Duration },
    #[error("the solver could not be run: {0}")]
    Broken(#[from] io::Error),
}

/// cvc5, as the Debian package of that name installs it.
#[derive(Clone, Debug)]
pub struct Cvc5 {
    /// $CVC5, or `cvc5` wherever programs are looked for.
    pub program: OsString,
    /// For one question.
    pub patience: Duration,
}

impl Cvc5 {
    pub fn found(patience: Duration) -> Self {
        Self { program: std::env::var_os("CVC5").unwrap_or_else(|| "cvc5".into()), patience }
    }

    /// Its name and version, as it says them itself.
    ///
    /// # Errors
    /// [`Trouble`] if it cannot be asked.
    pub fn version(&self) -> Result<String, Trouble> {
        let answer = self.run(&["--version"], "")?;
        let line = answer.lines().next().unwrap_or("a solver that does not say its version").trim();
        Ok(line.strip_prefix("This is ").unwrap_or(line).to_owned())
    }

    fn run(&self, options: &[&str], input: &str) -> Result<String, Trouble> {
        // Files on both sides: neither a long question nor a long answer can make one of us wait for the other.
        let (mut asked, mut answered) = (tempfile::tempfile()?, tempfile::tempfile()?);
        asked.write_all(input.as_bytes())?;
        asked.rewind()?;
        let started = Command::new(&self.program)
            .args(options)
            .stdin(asked)
            .stdout(answered.try_clone()?)
            .stderr(Stdio::null())
            .spawn();
        let mut running = started.map_err(|why| Trouble::Absent { program: self.program.clone(), why })?;
        let end = Instant::now() + self.patience;
        while running.try_wait()?.is_none() {
            if end < Instant::now() {
                running.kill()?;
                running.wait()?;
                return Err(Trouble::TooLate { after: self.patience });
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
        let mut answer = Vec::new();
        answered.rewind()?;
        answered.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Solver for Cvc5 {
    fn answer(&self, script: &str) -> Result<String, Trouble> {
        self.run(&["--lang", "smt"], script)
    }
}

impl<S: Solver + ?Sized> Solver for &S {
    fn answer(&self, script: &str) -> Result<String, Trouble> {
        (**self).answer(script)
    }
}

/// One question as the encoder writes it, and how its answer is read.
pub(crate) struct Question<'a, S> {
    script: Vec<u8>,
    solver: &'a S,
    /// How often it was asked.
    pub(crate) asked: usize,
}

impl<'a, S: Solver> Question<'a, S> {
    pub(crate) fn to(solver: &'a S) -> Self {
        Self { script: Vec::new(), solver, asked: 0 }
    }

    /// The solver's verdict, and what it printed after that.
    fn ask(&mut self) -> Result<(Decision, String), SolverError> {
        let script = String::from_utf8(std::mem::take(&mut self.script)).expect("the encoder writes text");
        self.asked += 1;
        let answer = self.solver.answer(&script).map_err(|trouble| SolverError::Solver(trouble.to_string()))?;
        let (verdict, rest) = answer.split_once('\n').unwrap_or((&answer, ""));
        let decision = match verdict.trim() {
            "sat" => Decision::Sat,
            "unsat" => Decision::Unsat,
            "unknown" => Decision::Unknown,
            _ => return Err(SolverError::UnrecognizedSolverOutput(verdict.chars().take(200).collect())),
        };
        Ok((decision, rest.to_owned()))
    }
}

impl<S: Solver + Sync> cedar_policy_symcc::solver::Solver for Question<'_, S> {
    fn smtlib_input(&mut self) -> &mut (dyn tokio::io::AsyncWrite + Unpin + Send) {
        &mut self.script
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        Ok(self.smtlib_input().set_option("produce-models", "true").await?)
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        self.smtlib_input().check_sat().await?;
        self.ask().map(|(decision, _)| decision)
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        self.smtlib_input().check_sat().await?;
        // Of what has none, a solver says so, and nobody reads it.
        self.smtlib_input().get_model().await?;
        Ok(match self.ask()? {
            (Decision::Sat, model) => DecisionWithModel::Sat { model },
            (Decision::Unsat, _) => DecisionWithModel::Unsat,
            (Decision::Unknown, _) => DecisionWithModel::Unknown,
        })
    }
}
