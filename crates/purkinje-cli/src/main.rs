//! The program `purkinje`.

fn main() -> std::process::ExitCode {
    purkinje_cli::run(std::env::args_os(), &purkinje::Registry::default())
}
