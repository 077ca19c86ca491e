//! Starting, using, sharing and stopping an engine.

use super::*;

#[tokio::test]
async fn stopped_engine_leaves_no_process_and_no_socket_and_its_data() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("data");
    let began = Instant::now();
    let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
    println!("first start: {:?}", began.elapsed());
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(folder.join("s")).unwrap().mode() & 0o777, 0o700);
    let connecting = engine.connect_options();
    for (name, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("max_connections", "20"),
        ("shared_buffers", "32MB"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(setting(&connecting, name).await, value, "{name}");
    }
    let mut connection = connect(&connecting).await;
    let collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()";
    let collation: String = sqlx::query_scalar(collation).fetch_one(&mut connection).await.unwrap();
    assert_eq!(collation, "C");
    drop(connection);
    let by_url: PgConnectOptions = engine.url().parse().unwrap();
    write_row(&by_url, 7).await;
    assert!(servers(&folder).contains(&engine.pid()));
    let pid = Pid::from_raw(i32::try_from(engine.pid()).unwrap()).unwrap();
    assert_eq!(getpgid(Some(pid)).unwrap(), pid, "Ctrl-C at our terminal does not reach it");
    engine.stop().await.unwrap();
    assert_eq!(servers(&folder), Vec::<u32>::new());
    assert!(!folder.join("s").exists() && !folder.join("pg/postmaster.pid").exists());

    let began = Instant::now();
    let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
    let later = began.elapsed();
    println!("later start: {later:?}");
    assert_eq!(rows(&engine.connect_options()).await, [7]);
    let began = Instant::now();
    engine.stop().await.unwrap();
    println!("stop: {:?}", began.elapsed());
}

#[tokio::test]
async fn second_program_is_told_who_runs_the_engine_and_may_be_a_guest() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    assert!(EmbeddedEngine::attach(&options(&folder.join("nowhere"))).await.unwrap().is_none());
    assert!(EmbeddedEngine::attach(&options(folder)).await.unwrap().is_none());

    let holder = Holder::start(&mut this_program(), folder);
    let error = EmbeddedEngine::start(options(folder)).await.unwrap_err();
    let EngineError::InUse { pid, command, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, holder.process.id());
    assert!(command.starts_with("process_embedded"), "{command}");
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");

    let guest = EmbeddedEngine::attach(&options(folder)).await.unwrap().expect("it runs");
    assert_eq!(rows(&guest).await, [1]);

    // It stops in order when its input ends; then there is nothing to attach to.
    let mut process = holder.process;
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
    assert!(EmbeddedEngine::attach(&options(folder)).await.unwrap().is_none());
    assert_eq!(servers(folder), Vec::<u32>::new());
}

#[tokio::test]
async fn guest_waits_for_an_engine_that_is_starting() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let mut starting = spawn_helper(&mut this_program(), folder);
    wait_until("the helper takes the lock", || folder.join("lock").exists());
    let guest = EmbeddedEngine::attach(&options(folder)).await.unwrap();
    // The lock file appears a moment before it is locked, so that "none runs" is a right answer too.
    if let Some(guest) = guest {
        connect(&guest).await;
    }
    drop(starting.stdin.take());
    assert!(starting.wait().unwrap().success());
}

#[tokio::test]
async fn dropped_engine_shuts_down() {
    let temporary = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::start(options(temporary.path())).await.unwrap();
    drop(engine);
    wait_until("the engine ends", || servers(temporary.path()).is_empty());
}

/// The death signal is tied to a thread, and the one that called `start` may end before the program does.
#[test]
fn engine_outlives_the_thread_that_started_it() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_path_buf();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = move || runtime().block_on(EmbeddedEngine::start(options(&folder))).unwrap();
    let engine = std::thread::spawn(start).join().unwrap();
    runtime().block_on(async {
        write_row(&engine.connect_options(), 3).await;
        assert_eq!(rows(&engine.connect_options()).await, [3]);
        engine.stop().await.unwrap();
    });
}

#[tokio::test]
async fn long_and_odd_data_folder_works() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["x".repeat(120), "a, (b) 'c' %20 ü & *".to_owned()] {
        let folder = temporary.path().join(name);
        let engine = EmbeddedEngine::start(options(&folder)).await.unwrap();
        let by_url: PgConnectOptions = engine.url().parse().unwrap();
        write_row(&by_url, 4).await;
        let guest = EmbeddedEngine::attach(&options(&folder)).await.unwrap().expect("it runs");
        assert_eq!(rows(&guest).await, [4]);
        let socket = guest.get_socket().unwrap().clone();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        engine.stop().await.unwrap();
        assert!(!socket.exists());
    }
}

/// `initdb` hands paths to a shell in double quotes.
#[tokio::test]
async fn data_folder_that_a_shell_would_misread_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["a\"b", "$(touch owned)", "`c`", "d\\e", "f\ng"] {
        let error = EmbeddedEngine::start(options(&temporary.path().join(name))).await.unwrap_err();
        assert!(matches!(error, EngineError::PathUnusable { .. }), "{error}");
    }
}

#[tokio::test]
async fn users_values_do_not_reach_the_engines_log() {
    let temporary = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::start(options(temporary.path())).await.unwrap();
    let mut connection = connect(&engine.connect_options()).await;
    sqlx::raw_sql("CREATE TABLE t (email text UNIQUE, n int)").execute(&mut connection).await.unwrap();
    let insert = "INSERT INTO t VALUES ($1, $2::text::int)";
    for (number, fails) in [("1", false), ("1", true), ("marker@example.org", true)] {
        let done = sqlx::query(insert).bind("marker@example.org").bind(number).execute(&mut connection).await;
        assert_eq!(done.is_err(), fails);
    }
    let inlined = "INSERT INTO t VALUES ('marker@example.org', 1)";
    sqlx::raw_sql(inlined).execute(&mut connection).await.unwrap_err();
    drop(connection);
    engine.stop().await.unwrap();
    let log = fs::read_to_string(temporary.path().join("engine.log")).unwrap();
    assert!(log.contains("ready to accept connections"), "{log}");
    assert!(!log.contains("marker"), "{log}");
}

#[tokio::test]
async fn start_that_cannot_succeed_says_at_once_why() {
    let temporary = tempfile::tempdir().unwrap();
    let mut greedy = options(temporary.path());
    EmbeddedEngine::start(greedy.clone()).await.unwrap().stop().await.unwrap();
    greedy.shared_buffers_mb = 4_000_000;
    let error = EmbeddedEngine::start(greedy).await.unwrap_err();
    let EngineError::ExitedEarly { tail, .. } = &error else { panic!("{error}") };
    assert!(tail.contains("shared_buffers") || tail.contains("memory"), "{tail}");
    assert_eq!(servers(temporary.path()), Vec::<u32>::new());

    fs::write(temporary.path().join("pg/PG_VERSION"), "12\n").unwrap();
    let error = EmbeddedEngine::start(options(temporary.path())).await.unwrap_err();
    assert!(matches!(&error, EngineError::VersionMismatch { found, .. } if found == "12"), "{error}");
}
