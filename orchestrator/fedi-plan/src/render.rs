//! A plan as text for people.

use std::fmt::Write;

use fedi_model::plan::{Action, Plan, Sign, Stage, Step, Workflow};

pub use crate::title::bytes;

/// Where the steps begin, in columns: right of the longest stage title.
const STEPS: usize = 17;

/// The whole plan: a line a step with its sign and its stage at the left, what differs
/// below it, notes, and the count. Ends with a newline.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.is_empty() {
        notes(&mut text, plan);
        let _ = writeln!(text, "{}", summary(plan));
        return text;
    }
    let verb = match plan.workflow {
        Workflow::Deploy => "Deploy",
        Workflow::Destroy => "Destroy",
        Workflow::Backup => "Back up",
        Workflow::Restore => "Restore",
        Workflow::Drill => "Rehearse the restore of",
        Workflow::Clone => "Clone to",
    };
    let _ = writeln!(text, "{verb} `{}` on host `{}`\n", plan.deployment, plan.host);
    for stage in &plan.stages {
        render_stage(&mut text, stage);
    }
    text.push('\n');
    notes(&mut text, plan);
    let _ = writeln!(text, "{}", summary(plan));
    text
}

/// The count in one line: `Plan: 9 to create, 1 to change, 3 to run`, or that there
/// is nothing to do.
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return match plan.workflow {
            Workflow::Destroy => format!("Nothing of `{}` is left", plan.deployment),
            Workflow::Deploy | Workflow::Backup | Workflow::Restore | Workflow::Drill | Workflow::Clone => {
                format!("No changes: `{}` on host `{}` is as its files say", plan.deployment, plan.host)
            }
        };
    }
    let words =
        [(Sign::Create, "to create"), (Sign::Change, "to change"), (Sign::Remove, "to remove"), (Sign::Run, "to run")];
    let counts = words.into_iter().map(|(sign, word)| (plan.count(sign), word)).filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("Plan: {}", counts.join(", "))
}

/// One step, a line, with its sign.
pub fn step(step: &Step) -> String {
    match step.sign() {
        Some(sign) => format!("{} {}", sign.symbol(), step.title),
        None => step.title.clone(),
    }
}

fn render_stage(text: &mut String, stage: &Stage) {
    if let [Step { action: Action::Pivot { reason }, .. }] = stage.steps.as_slice() {
        let _ = writeln!(text, "  -- {reason}");
        return;
    }
    let mut title = stage.title.as_str();
    for it in &stage.steps {
        let _ = writeln!(text, "  {title:<width$}{}", step(it), width = STEPS - 2);
        for change in &it.changes {
            let _ = writeln!(text, "{:STEPS$}    {change}", "");
        }
        title = "";
    }
}

fn notes(text: &mut String, plan: &Plan) {
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if !plan.notes.is_empty() {
        text.push('\n');
    }
}
