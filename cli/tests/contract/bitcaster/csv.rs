//! C.2: the rules for CSV files.

use serde_json::{Value, json};

use super::{Desk, Run};

/// Imports a file into `my-org` of a new tenant; gives the run and the users.
async fn import(csv: impl AsRef<[u8]>) -> (Run, Vec<Value>, Desk) {
    let desk = Desk::new().await;
    let run = desk.import(csv, &["--org", "my-org"]);
    let users = desk.tenant.users().await;
    (run, users, desk)
}

/// The metadata of the only user of a file that is all good.
async fn metadata(csv: &str) -> Value {
    let (run, mut users, _) = import(csv).await;
    run.counts(0, 1, 1);
    users.remove(0)["metadata"].take()
}

#[tokio::test]
async fn the_documents_example_is_imported() {
    let csv = "email,first_name,last_name,custom__office,custom__department\n\
               mario.rossi@example.com,Mario,Rossi,Milan,IT\nanna.verdi@example.com,Anna,Verdi,Rome,Sales\n";
    let (run, users, desk) = import(csv).await;
    run.counts(0, 2, 2);
    assert_eq!((&users[0]["given_name"], &users[0]["family_name"]), (&json!("Anna"), &json!("Verdi")));
    assert_eq!(users[1]["metadata"], json!({"office": "Milan", "department": "IT"}));
    assert_eq!(desk.memberships().await, vec![("my-org".to_owned(), "Default".to_owned()); 2]);
}

#[tokio::test]
async fn a_mark_blank_lines_and_quotes_are_read() {
    let (run, users, _) =
        import("\u{feff}email,first_name\r\n\r\n\"a@example.com\",\"Ann \"\"A\"\" Lee\"\r\n\r\n").await;
    run.counts(0, 1, 1);
    assert_eq!(users[0]["given_name"], "Ann \"A\" Lee");
}

#[tokio::test]
async fn headers_are_cleaned() {
    let (run, users, _) = import(" E\u{301}mail ,First Name,LAST-NAME\na@example.com,Ann,Lee\n").await;
    run.counts(0, 1, 1);
    assert_eq!((&users[0]["given_name"], &users[0]["family_name"]), (&json!("Ann"), &json!("Lee")));
}

#[tokio::test]
async fn an_unknown_column_refuses_the_file() {
    for header in ["email,username", "email,E-mail", "email,phone"] {
        let (run, users, _) = import(format!("{header}\na@example.com,x\n")).await;
        assert_eq!((run.code, users.len()), (Some(1), 0), "{run:?}");
        let column = header.split(',').next_back().unwrap();
        let told = run.stdout.lines().last().unwrap();
        assert!(told.starts_with("An error occurred: ") && told.contains(column), "{told}");
        // Nothing is suggested that would be refused as well.
        assert!(!told.contains("phone_number") && !told.contains("preferred_username"), "{told}");
    }
}

/// Bitcaster looks at the columns when it comes to the first row with a valid address.
#[tokio::test]
async fn an_unknown_column_over_rows_without_an_address_gives_bitcasters_own_count() {
    let desk = Desk::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    for (rows, code, processed) in [(",x\nnobody,y\n", 3, 2), ("", 0, 0)] {
        std::fs::write(&file, format!("email,phone\n{rows}")).unwrap();
        let args = [file.to_str().unwrap(), "--org", "my-org", "--tenant", &desk.tenant.slug];
        desk.bc(&args, b"").counts(code, 0, processed);
    }
    assert!(desk.tenant.users().await.is_empty());
}

#[tokio::test]
async fn a_file_without_email_is_refused() {
    let (run, users, _) = import("first_name\nAnn\n").await;
    assert_eq!((run.code, users.len()), (Some(1), 0));
    assert!(run.stdout.lines().last().unwrap().starts_with("An error occurred: "), "{run:?}");
}

#[tokio::test]
async fn rows_without_a_valid_email_are_left_out_and_counted_as_processed() {
    let (run, users, _) = import("email,first_name\na@example.com,A\nnobody,B\n,C\nd@example.com,D\n").await;
    let run = run.counts(3, 2, 4);
    assert!(run.stderr.contains("2 records failed: muster imports failed"), "{}", run.stderr);
    assert_eq!(users.len(), 2);
}

#[tokio::test]
async fn emails_are_normalised() {
    let (run, users, _) = import("email\n Mario@Example.COM \nmario@example.com\n").await;
    run.counts(0, 2, 2);
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["email"], "mario@example.com");
}

#[tokio::test]
async fn a_plain_custom_column_has_a_cleaned_key_and_its_text_as_it_is() {
    let csv =
        "email,custom__Office Name,custom__a.b,custom__n,custom__empty\na@example.com, Milan ,x,0123,\n";
    assert_eq!(metadata(csv).await, json!({"office_name": " Milan ", "ab": "x", "n": "0123", "empty": ""}));
}

#[tokio::test]
async fn a_list_column_is_split() {
    let csv = "email,custom__Tags[],custom__none[]\na@example.com,\"a, b ,,c\",\n";
    assert_eq!(metadata(csv).await, json!({"Tags": ["a", "b", "c"], "none": []}));
}

#[tokio::test]
async fn an_object_column_is_read() {
    let csv = "email, custom__Facts{},custom__none{}\na@example.com,\"k=v,n=1,f=1.5,t=True,x=None,a=01,q=x=y,e=,no,s=\"\"v, 2\"\"\",\n";
    let wanted = json!({"k": "v", "n": 1, "f": 1.5, "t": true, "x": null, "a": "01", "q": "x=y", "e": "", "s": "v, 2"});
    assert_eq!(metadata(csv).await, json!({"_Facts": wanted, "none": {}}));
}

#[tokio::test]
async fn an_object_cell_keeps_the_blanks_of_its_values() {
    let csv = "email,custom__x{}\na@example.com,\"k= v ,n = 1 ,m='a b',c=\"\"5\"\"\"\n";
    assert_eq!(metadata(csv).await, json!({"x": {"k": " v ", "n": 1, "m": "a b", "c": 5}}));
}

#[tokio::test]
async fn a_blank_before_a_list_or_an_object_shifts_its_key() {
    let csv = "email, custom__field4[],  custom__f{}\na@example.com,a,k=v\n";
    assert_eq!(metadata(csv).await, json!({"_field4": ["a"], "__f": {"k": "v"}}));
}

#[tokio::test]
async fn a_stray_quote_is_read_as_pythons_csv_module_reads_it() {
    let (run, users, _) =
        import("email,first_name\na@example.com,\"A\"b \"c\"\nb@example.com,O\"Neil\nc@example.com,C\n")
            .await;
    run.counts(0, 3, 3);
    let names: Vec<&Value> = users.iter().map(|user| &user["given_name"]).collect();
    assert_eq!(names, [&json!("Ab \"c\""), &json!("O\"Neil"), &json!("C")]);
}

#[tokio::test]
async fn a_bracket_in_such_a_cell_fails_its_record() {
    let (run, users, _) = import("email,custom__tags[]\na@example.com,[a]\nb@example.com,b\n").await;
    run.counts(3, 1, 2);
    assert_eq!(users[0]["email"], "b@example.com");
}

#[tokio::test]
async fn a_short_row_has_null_for_custom_fields_and_nothing_for_others() {
    let (run, users, _) = import("email,first_name,last_name,custom__note\na@example.com,Ann\n").await;
    run.counts(0, 1, 1);
    assert_eq!((&users[0]["given_name"], &users[0]["family_name"]), (&json!("Ann"), &Value::Null));
    assert_eq!(users[0]["metadata"], json!({"note": null}));
}

#[tokio::test]
async fn surplus_cells_are_left_out() {
    let (run, users, _) = import("email,first_name\na@example.com,Ann,x,,y\n").await;
    run.counts(0, 1, 1);
    assert_eq!(users[0]["given_name"], "Ann");
}

#[tokio::test]
async fn of_one_email_twice_the_first_row_wins_and_both_count() {
    let (run, users, _) = import("email,first_name\na@example.com,First\na@example.com,Second\n").await;
    run.counts(0, 2, 2);
    assert_eq!((users.len(), &users[0]["given_name"]), (1, &json!("First")));
}

#[tokio::test]
async fn an_existing_user_is_enrolled_and_not_changed() {
    let desk = Desk::new().await;
    desk.post(
        "/api/o/other/u/",
        json!({"email": "a@example.com", "first_name": "Ann", "custom_fields": {"k": 1}}),
    )
    .await
    .is(201);
    let before = desk.only_user().await;
    let csv = "email,first_name,custom__k\na@example.com,Eve,2\n";
    desk.import(csv, &["--org", "my-org"]).counts(0, 1, 1);
    assert_eq!(desk.only_user().await, before);
    assert_eq!(desk.memberships().await.len(), 2);
    // And again: nothing happens, and it counts the same.
    desk.import(csv, &["--org", "my-org"]).counts(0, 1, 1);
    assert_eq!((desk.only_user().await, desk.memberships().await.len()), (before, 2));
}

#[tokio::test]
async fn a_value_that_is_too_long_fails_its_record() {
    let (name, email) = ("x".repeat(151), format!("{}@{}.com", "a".repeat(60), "b.".repeat(45)));
    let csv =
        format!("email,first_name\na@example.com,{name}\n{email},B\nc@example.com,{}\n", "x".repeat(150));
    let (run, users, _) = import(csv).await;
    run.counts(3, 1, 3);
    assert_eq!(users[0]["email"], "c@example.com");
}

#[tokio::test]
async fn users_get_the_default_address() {
    let (run, users, _) = import("email\na@example.com\n").await;
    run.counts(0, 1, 1);
    assert_eq!(
        users[0]["profile"]["addresses"],
        json!({"email": {"type": "email", "value": "a@example.com"}})
    );
}

#[tokio::test]
async fn bitcasters_own_counts_come_out() {
    // Its own tests: three rows with one bad address, one address twice, no valid address at all.
    for (csv, code, created, processed) in [
        ("email\na@example.com\nb@example.com\nbad\n", 3, 2, 3),
        ("email\na@example.com\na@example.com\n", 0, 2, 2),
        ("email\nx\ny\nz\n", 3, 0, 3),
    ] {
        import(csv).await.0.counts(code, created, processed);
    }
}

/// Bitcaster gives the whole file up.
#[tokio::test]
async fn bytes_that_are_not_utf_8_fail_their_record_alone() {
    let (run, users, _) =
        import(b"email,first_name\na@example.com,Ann\nb@example.com,Ren\xe9\nc@example.com,Cy\n").await;
    run.counts(3, 2, 3);
    assert_eq!(users.len(), 2);
}

#[tokio::test]
async fn two_columns_of_one_name_refuse_the_file_and_so_does_a_quote_that_is_never_closed() {
    let (run, users, _) = import("email,first_name,First Name\na@example.com,A,B\n").await;
    assert_eq!((run.code, users.len()), (Some(1), 0), "{run:?}");
    let (run, users, _) = import("email,first_name\na@example.com,\"A\nc@example.com,C\n").await;
    assert_eq!((run.code, users.len()), (Some(1), 0), "{run:?}");
}

/// What Python reads as a number and JSON does not.
#[tokio::test]
async fn other_literals_of_python_stay_texts() {
    let said = metadata("email,custom__x{}\na@example.com,\"a=1_000,b=0x10,c=00\"\n").await;
    assert_eq!(said["x"], json!({"a": "1_000", "b": "0x10", "c": "00"}));
}
