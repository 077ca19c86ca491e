//! Kills at every point, and what they leave.

use super::*;

#[tokio::test]
async fn killed_program_takes_its_engine_with_it_and_commits_are_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let holder = Holder::start(&mut this_program(), folder);
    assert!(servers(folder).contains(&holder.engine));
    holder.kill();
    wait_until("the engine ends by itself", || servers(folder).is_empty());
    let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
    assert_eq!(rows(&engine.connect_options()).await, [1]);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn start_right_after_a_kill_waits_for_the_old_engine() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    for _ in 0..3 {
        let holder_engine = {
            let holder = Holder::start(&mut this_program(), folder);
            let engine = holder.engine;
            holder.kill();
            engine
        };
        let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
        assert_ne!(engine.pid(), holder_engine);
        assert_eq!(rows(&engine.connect_options()).await, [1]);
        let mut connection = connect(&engine.connect_options()).await;
        sqlx::query("DELETE FROM kept").execute(&mut connection).await.unwrap();
        drop(connection);
        engine.stop().await.unwrap();
    }
}

/// As on systems without a death signal.
#[tokio::test]
async fn engine_that_outlived_its_program_is_stopped_and_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
    write_row(&engine.connect_options(), 5).await;
    let connecting = engine.connect_options();
    engine.stop().await.unwrap();

    let binary =
        fs::read_dir(folder.join("engine")).unwrap().next().unwrap().unwrap().path().join("bin/postgres");
    let socket = folder.join("s");
    fs::create_dir(&socket).unwrap();
    let mut old = Command::new(binary)
        .arg("-D")
        .arg(folder.join("pg"))
        .args(["-c", "listen_addresses=", "-c", &format!("unix_socket_directories={}", socket.display())])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    let open = loop {
        match connecting.connect().await {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(EmbeddedEngine::attach(&options(&folder)).await.unwrap().is_none(), "nobody runs it");
    // It is our child here, and would stay a zombie: it has to be reaped for its number to go.
    let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
    assert!(old.wait().unwrap().success(), "it was shut down in order");
    drop(open);
    assert_eq!(rows(&engine.connect_options()).await, [5]);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn killed_engine_is_reported_and_recovers_at_the_next_start() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
    write_row(&engine.connect_options(), 1).await;
    let socket_lock = folder.join("s/.s.PGSQL.5432.lock");
    kill(engine.pid(), Signal::KILL);
    let death = engine.died().await;
    assert!(matches!(&death, EngineError::Died { status, .. } if status.contains("9")), "{death}");
    engine.stop().await.unwrap();
    assert_eq!(servers(folder), Vec::<u32>::new());
    assert!(!socket_lock.exists());

    // The same with the program gone as well: the file still names a process, whose number is another's by now.
    let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
    assert_eq!(rows(&engine.connect_options()).await, [1]);
    write_row(&engine.connect_options(), 2).await;
    kill(engine.pid(), Signal::KILL);
    engine.died().await;
    let stale = fs::read_to_string(folder.join("pg/postmaster.pid")).unwrap();
    drop(engine);
    wait_until("its processes notice", || servers(folder).is_empty());
    let (_, rest) = stale.split_once('\n').unwrap();
    fs::write(folder.join("pg/postmaster.pid"), format!("{}\n{rest}", std::process::id())).unwrap();
    let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
    assert_eq!(rows(&engine.connect_options()).await, [1, 2]);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn unfinished_database_files_are_never_used() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    // Killed in the middle of initdb, three times.
    for _ in 0..3 {
        let mut process = spawn_helper(&mut this_program(), folder);
        let unfinished = || {
            let entries = fs::read_dir(folder).unwrap().flatten();
            entries.map(|entry| entry.path()).find(|path| {
                path.file_name().unwrap().to_str().unwrap().starts_with("pg.new-")
                    && path.join("base").exists()
            })
        };
        wait_until("initdb is at work", || unfinished().is_some() || folder.join("pg").exists());
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(!folder.join("pg").exists(), "this test was too slow for its purpose");
    }
    let engine = EmbeddedEngine::start(options(folder)).await.unwrap();
    write_row(&engine.connect_options(), 1).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn unfinished_engine_is_unpacked_anew() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    EmbeddedEngine::start(options(folder)).await.unwrap().stop().await.unwrap();
    let engine = fs::read_dir(folder.join("engine")).unwrap().next().unwrap().unwrap().path();
    // As after a kill before the last step.
    fs::rename(&engine, engine.with_extension("new")).unwrap();
    fs::remove_file(engine.with_extension("new").join("bin/initdb")).unwrap();
    EmbeddedEngine::start(options(folder)).await.unwrap().stop().await.unwrap();
    assert!(engine.join("bin/initdb").exists());
    assert_eq!(fs::read_dir(folder.join("engine")).unwrap().count(), 1);
}
