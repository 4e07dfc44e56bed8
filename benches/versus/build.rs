//! Builds the rivals that are not Rust, where their compilers and libraries are found.
//!
//! Each becomes `RIVAL_X`: the program's path, or empty with the reason in `RIVAL_X_MISSING`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const JARS: [&str; 7] = [
    "netty-common",
    "netty-buffer",
    "netty-transport",
    "netty-resolver",
    "netty-codec",
    "netty-handler",
    "netty-transport-native-unix-common",
];

fn main() {
    println!("cargo:rerun-if-changed=rivals");
    println!("cargo:rerun-if-env-changed=CC");
    let version = Command::new(env::var("RUSTC").as_deref().unwrap_or("rustc"))
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!(
        "cargo:rustc-env=RUSTC_VERSION={}",
        version.unwrap_or_default()
    );

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    publish("C", compile_c("epoll", &["-pthread"], &out));
    publish("LIBUV", compile_c("uv", &["-luv"], &out));
    publish("NETTY", compile_netty(&out));
    publish("GO", compile_go(&out));
    let (c, java, go) = (compiler(), "java".to_owned(), "go".to_owned());
    println!("cargo:rustc-env=CC_VERSION={}", first_line(&c, "--version"));
    println!(
        "cargo:rustc-env=JAVA_VERSION={}",
        first_line(&java, "--version")
    );
    println!("cargo:rustc-env=GO_VERSION={}", first_line(&go, "version"));
}

fn publish(name: &str, built: Result<PathBuf, String>) {
    let (path, missing) = match built {
        Ok(path) => (path.display().to_string(), String::new()),
        Err(reason) => (String::new(), reason.replace('\n', " ")),
    };
    println!("cargo:rustc-env=RIVAL_{name}={path}");
    println!("cargo:rustc-env=RIVAL_{name}_MISSING={missing}");
}

fn compiler() -> String {
    env::var("CC").unwrap_or_else(|_| "cc".to_owned())
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(error) => Err(format!("{program}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = text
                .lines()
                .find(|line| line.contains("error"))
                .unwrap_or("failed");
            Err(format!("{program}: {line}"))
        }
    }
}

fn compile_c(name: &str, options: &[&str], out: &Path) -> Result<PathBuf, String> {
    let program = out.join(format!("{name}_server"));
    let source = format!("rivals/{name}.c");
    run(Command::new(compiler())
        .args(["-O2", "-Wall", &source, "-o"])
        .arg(&program)
        .args(options))?;
    Ok(program)
}

/// The class path instead of a program: the runner starts `java -cp PATH NettyServer`.
fn compile_netty(out: &Path) -> Result<PathBuf, String> {
    let jars = JARS.map(|jar| format!("/usr/share/java/{jar}.jar"));
    for jar in &jars {
        println!("cargo:rerun-if-changed={jar}");
        if !Path::new(jar).exists() {
            return Err(format!("{jar} not found (Debian: libnetty-java)"));
        }
    }
    let classes = out.join("netty");
    fs::create_dir_all(&classes).map_err(|error| error.to_string())?;
    let path = jars.join(":");
    run(Command::new("javac")
        .args(["-cp", &path, "-d"])
        .arg(&classes)
        .arg("rivals/NettyServer.java"))?;
    Ok(PathBuf::from(format!("{}:{path}", classes.display())))
}

fn compile_go(out: &Path) -> Result<PathBuf, String> {
    let program = out.join("go_server");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("rivals/server.go")
        .env("GO111MODULE", "off")
        .env("GOCACHE", out.join("go-cache")))?;
    Ok(program)
}
