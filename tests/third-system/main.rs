//! The program with a system of the tests beside the published ones: the proof that a system is one folder and one line.

mod network;
mod objective;
mod system;

fn main() -> std::process::ExitCode {
    let registry = purkinje::Registry::default().with::<system::Ripple>();
    purkinje_cli::run(std::env::args_os(), &registry)
}
