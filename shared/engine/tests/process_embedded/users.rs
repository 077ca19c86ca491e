//! Which user runs the engine. Most of these need root and do nothing without it.

use super::*;

#[tokio::test]
async fn installed_binaries_serve_and_as_root_with_fewer_rights() {
    let Some(bin) = installed() else { return };
    let temporary = open_tempdir();
    let folder = temporary.path().join("data");
    let mut options = options(&folder);
    options.postgres_bin = Some(bin);
    for row in [1, 2] {
        let engine = EmbeddedEngine::start(options.clone()).await.unwrap();
        write_row(&engine.connect_options(), row).await;
        let user = read_link_user(engine.pid());
        assert_ne!(user, 0, "PostgreSQL does not run as root");
        assert_eq!(user, fs::metadata(folder.join("pg")).unwrap().uid());
        let guest = EmbeddedEngine::attach(&options).await.unwrap().expect("it runs");
        assert_eq!(rows(&guest).await.len(), usize::try_from(row).unwrap());
        engine.stop().await.unwrap();
        assert_eq!(servers(&folder), Vec::<u32>::new());
    }
    // The bundled engine is of another version.
    options.postgres_bin = None;
    let error = EmbeddedEngine::start(options).await.unwrap_err();
    assert!(matches!(error, EngineError::VersionMismatch { .. }), "{error}");
}

#[tokio::test]
async fn killed_root_program_takes_an_engine_with_fewer_rights_with_it() {
    let (true, Some(bin)) = (geteuid().is_root(), installed()) else {
        return;
    };
    let temporary = open_tempdir();
    let holder = Holder::start(this_program().env(BINARIES, bin), temporary.path());
    assert_ne!(read_link_user(holder.engine), 0);
    holder.kill();
    wait_until("the engine ends by itself", || servers(temporary.path()).is_empty());
}

#[tokio::test]
async fn folder_that_the_engines_user_cannot_reach_is_named() {
    let (true, Some(bin)) = (geteuid().is_root(), installed()) else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut options = options(&temporary.path().join("data"));
    options.postgres_bin = Some(bin);
    let error = EmbeddedEngine::start(options).await.unwrap_err();
    let EngineError::Unreachable { blocked, .. } = &error else { panic!("{error}") };
    assert_eq!(*blocked, temporary.path().canonicalize().unwrap());
}

/// `nobody` runs the engine; then root on the same folder, which keeps its owner; then `nobody` again.
#[tokio::test]
async fn ordinary_user_runs_the_engine_and_root_does_not_take_it_away() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = 65534;
    let temporary = open_tempdir();
    let program = temporary.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let folder = temporary.path().join("data");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(nobody), Some(nobody)).unwrap();
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .current_dir("/");
        command
    };
    let holder = Holder::start(&mut as_nobody(), &folder);
    assert_eq!(read_link_user(holder.engine), nobody);
    holder.kill();
    wait_until("the engine ends by itself", || servers(&folder).is_empty());

    let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
    assert_eq!(read_link_user(engine.pid()), nobody);
    let mut connection = connect(&engine.connect_options()).await;
    sqlx::query("DELETE FROM kept").execute(&mut connection).await.unwrap();
    drop(connection);
    engine.stop().await.unwrap();

    let again = Holder::start(&mut as_nobody(), &folder);
    again.kill();
    wait_until("the engine ends by itself", || servers(&folder).is_empty());

    // Root's data are not for others, and they are told so.
    let roots = temporary.path().join("roots");
    EmbeddedEngine::start(options(&roots)).await.unwrap().stop().await.unwrap();
    let output = spawn_helper(as_nobody().stderr(Stdio::piped()), &roots).wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("ermission denied"), "{said}");
}
