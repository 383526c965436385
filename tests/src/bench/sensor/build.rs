//! What a build with `make -j2` pays: a small C project, made for this and built from nothing each time.

use super::Measured;
use super::cost::{Costs, Goal};
use super::subject::{Bench, Standing, Way};
use crate::failure::Failure;
use crate::rig::write_file;

/// Builds it by turns without and with the whole path.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    if bench.short {
        super::say("SKIPPED in the short form: the build with make -j2");
        return Ok(Measured::default());
    }
    standing.stop()?;
    write_project(bench)?;
    let folder = bench.load.path("project").display().to_string();
    let arguments = ["-s", "-B", "-j2", "-C", &folder];
    let build = || bench.load.command("/usr/bin/make", &arguments);
    build()?;
    let costs = Costs::measure(bench, Way::Run, PAIRS, build)?;
    let conditions = format!("{FILES} files of C, 8 KiB each, with three headers");
    Ok(Measured {
        figures: vec![costs.slow_down(GOAL, "", &conditions)],
        broken: Vec::new(),
    })
}

fn write_project(bench: &Bench) -> Result<(), Failure> {
    let file = |name: &str| bench.load.path("project").join(name);
    for number in 0..FILES {
        write_file(&file(&format!("f{number}.c")), source(number))?;
    }
    let main = "int f0(int);\nint main(void) { return f0(0) == 0; }\n";
    write_file(&file("main.c"), main)?;
    let objects: Vec<String> = (0..FILES).map(|number| format!("f{number}.o")).collect();
    let rules = format!(
        "program: main.o {}\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n",
        objects.join(" ")
    );
    write_file(&file("Makefile"), rules)
}

/// Some functions, with headers of the C library.
fn source(number: usize) -> String {
    let function = |function: usize| {
        format!(
            "static int g{function}(int x) {{ char b[64]; for (int i = 0; i < x % 9; i++) x += i * {function};\n\
             snprintf(b, sizeof b, \"%d\", x); return atoi(b) + (int)strlen(b); }}\n"
        )
    };
    let functions: String = (0..FUNCTIONS).map(function).collect();
    let calls: Vec<String> = (0..FUNCTIONS)
        .map(|function| format!("g{function}(x)"))
        .collect();
    format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
         {functions}int f{number}(int x) {{ return {}; }}\n",
        calls.join(" + ")
    )
}

const FILES: usize = 40;
const FUNCTIONS: usize = 40;
const PAIRS: usize = 10;
const GOAL: Goal = Goal {
    name: "slow-down of make -j2",
    words: "<= 1",
    limit: 1.0,
    anchor: "",
};
