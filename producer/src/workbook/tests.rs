use std::io::Cursor;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// A workbook of one sheet, whose parts can be others.
fn book(parts: &[(&str, String)]) -> Vec<u8> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relation = |kind: &str, to: &str| {
        format!(
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
             <Relationship Id=\"rId1\" Type=\"{RELATIONS}/{kind}\" Target=\"{to}\"/></Relationships>"
        )
    };
    let workbook = format!(
        "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><sheets><sheet name=\"A\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"
    );
    let mut all = vec![
        ("[Content_Types].xml", "<Types/>".to_owned()),
        ("_rels/.rels", relation("officeDocument", "xl/workbook.xml")),
        ("xl/workbook.xml", workbook),
        ("xl/_rels/workbook.xml.rels", relation("worksheet", "worksheets/sheet1.xml")),
    ];
    all.retain(|(name, _)| !parts.iter().any(|(other, _)| other == name));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in all.iter().chain(parts) {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn sheet(rows: &str) -> (&'static str, String) {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    (
        "xl/worksheets/sheet1.xml",
        format!("<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>"),
    )
}

fn cell(at: &str, text: &str) -> String {
    format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

fn read(bytes: &[u8], limits: BookLimits) -> Result<String, ErrorCode> {
    text(bytes, limits, None).map(|text| String::from_utf8(text).unwrap()).map_err(|error| error.code)
}

#[test]
fn rows_keep_their_lines_and_cells_their_columns() {
    let rows = format!(
        "<row r=\"2\">{}{}</row><row r=\"5\">{}</row>",
        cell("A2", "a"),
        cell("C2", "say &quot;x&quot;"),
        cell("B5", "two&#10;lines")
    );
    let bytes = book(&[sheet(&rows)]);
    let expected = "\n\"a\",,\"say \"\"x\"\"\"\n\n\n,\"two\nlines\"\n";
    assert_eq!(read(&bytes, BookLimits::default()), Ok(expected.into()));
}

#[test]
fn zeros_that_a_sheet_shows_before_a_number_are_told_by_its_format() {
    for (code, width) in [
        ("00000", Some(5)),
        ("00000;@", Some(5)),
        ("0000 000 000", Some(10)),
        ("000\\-00\\-0000", Some(9)),
        ("[$-409]00000", Some(5)),
        ("[Red]0000;[Blue]00", Some(4)),
        ("\"Nr. \"0000_)", Some(4)),
        ("(000) 000-0000", Some(10)),
        ("[<=9999999]0000000;00000000000", None),
        ("General", None),
        ("0", None),
        ("#,##0", None),
        ("0.00", None),
        ("00%", None),
        ("00E+00", None),
        ("\"00", None),
        ("00\\", None),
    ] {
        assert_eq!(zeros_of(code), width, "{code}");
    }
}

#[test]
fn numbers_times_and_durations_are_as_the_sheet_shows_them() {
    let formats = [(164, "[h]:mm"), (165, "hh:mm"), (166, "0000 000 000"), (167, "yyyy-mm-dd hh:mm")];
    let styles = format!(
        "<styleSheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><numFmts>{}</numFmts>\
         <cellXfs>{}</cellXfs></styleSheet>",
        formats.map(|(id, code)| format!("<numFmt numFmtId=\"{id}\" formatCode=\"{code}\"/>")).concat(),
        formats.map(|(id, _)| format!("<xf numFmtId=\"{id}\" applyNumberFormat=\"1\"/>")).concat(),
    );
    let values = ["1.1041666666666667", "0", "30123456", "36526.5"];
    let cells: String = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("<c r=\"{}1\" s=\"{at}\"><v>{value}</v></c>", ["A", "B", "C", "D"][at]))
        .collect();
    let bytes = book(&[sheet(&format!("<row r=\"1\">{cells}</row>")), ("xl/styles.xml", styles)]);
    let expected = "\"26:30:00\",\"00:00:00\",\"0030123456\",\"2000-01-01T12:00:00\"\n";
    assert_eq!(read(&bytes, BookLimits::default()), Ok(expected.into()));
    assert_eq!(duration_text(-0.5), "-12:00:00");
}

#[test]
fn a_formula_without_a_stored_value_is_told() {
    let of = |cells: &str| {
        let bytes = book(&[sheet(&format!("<row r=\"1\">{}{cells}</row>", cell("A1", "a")))]);
        text(&bytes, BookLimits::default(), None)
    };
    for none in ["<c r=\"B1\"><f>A1</f></c>", "<c r=\"B1\"><f>A1</f><v></v></c>", "<c><f>A1</f><v/></c>"] {
        let error = of(none).unwrap_err();
        assert_eq!(error.code, ErrorCode::WorkbookUnreadable, "{none}");
        assert!(error.message.contains("the formula in B1 has no stored value"), "{error}");
    }
    let stored = "<c r=\"B1\" t=\"str\"><f>A1&amp;\"\"</f><v></v></c><c r=\"C1\"><f>1+1</f><v>2</v></c>";
    assert_eq!(of(stored).unwrap(), b"\"a\",,\"2\"\n");
}

#[test]
fn the_number_of_parts_is_bounded_whatever_the_end_of_the_archive_says() {
    let first = sheet(&format!("<row r=\"1\">{}</row>", cell("A1", "a")));
    let names: Vec<String> = (0..5_000).map(|number| format!("xl/media/{number}.png")).collect();
    let parts: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), String::new())).collect();
    let mut many = book(&[&[first.clone()][..], &parts].concat());
    let too_large = Err(ErrorCode::WorkbookTooLarge);
    assert_eq!(read(&many, BookLimits::default()), too_large);
    // A second end in the comment, which no reader takes: its own comment would go beyond the file.
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &[0; 8], &[0xff, 0xff]].concat();
    let length = many.len();
    many[length - 2] = u8::try_from(end.len()).unwrap();
    many.extend(&end);
    assert_eq!(read(&many, BookLimits::default()), too_large);
    // The large kind of end says the number elsewhere.
    let mut large = book(&[first]);
    let at = large.len() - 22;
    let mut record = b"PK\x06\x06".to_vec();
    record.extend(44_u64.to_le_bytes());
    record.extend([0; 12]);
    record.extend([400_000_000_u64.to_le_bytes(); 2].concat());
    record.extend([0; 16]);
    let mut locator = b"PK\x06\x07\0\0\0\0".to_vec();
    locator.extend(u64::try_from(at).unwrap().to_le_bytes());
    locator.extend(1_u32.to_le_bytes());
    let mut end = large.split_off(at);
    end[16..20].fill(0xff);
    large.extend([record, locator, end].concat());
    assert_eq!(read(&large, BookLimits::default()), too_large);
}

#[test]
fn what_would_take_too_much_room_is_refused_before_it_is_opened() {
    let limits = BookLimits { bytes: 1024 * 1024, memory: 100_000, unpacked: Some(3_000_000) };
    let few = sheet(&format!("<row r=\"1\">{}</row>", cell("A1", "a")));
    let too_large = Err(ErrorCode::WorkbookTooLarge);
    let texts = ("xl/sharedStrings.xml", "<si><t>x</t></si>".repeat(10_000));
    assert_eq!(read(&book(&[few.clone(), texts]), limits), too_large);
    let long = sheet(&cell("A1", &"x".repeat(2_000_000)));
    assert_eq!(read(&book(&[long]), limits), too_large);
    let rows = sheet(&"<row></row>".repeat(400_000));
    assert_eq!(read(&book(&[rows]), limits), too_large);
    assert_eq!(read(&vec![b'P'; 1024 * 1024 + 1], limits), too_large);
    let hidden = sheet(&format!("<!-- {} -->", "<".repeat(2_000_000)));
    assert_eq!(read(&book(&[hidden]), limits), Err(ErrorCode::WorkbookUnreadable));
    let parts = format!("<c r=\"A1\" t=\"inlineStr\"><is>{}</is></c>", "<t>xxxx</t><c></c>".repeat(100_000));
    assert_eq!(read(&book(&[sheet(&parts)]), limits), too_large);
    let formats =
        ("xl/styles.xml", format!("<styleSheet><cellXfs>{}</cellXfs></styleSheet>", "<xf/>".repeat(210_000)));
    let wide = BookLimits { memory: 10_000_000, ..limits };
    assert_eq!(read(&book(&[few.clone(), formats]), wide), too_large);
    // Room for so many texts would be made at once.
    for count in ["99999999999", "18446744073709551615", "1000"] {
        let texts = format!("<sst uniqueCount = '{count}'><si><t>x</t></si></sst>");
        let bytes = book(&[few.clone(), ("xl/sharedStrings.xml", texts)]);
        assert_eq!(read(&bytes, limits), Err(ErrorCode::WorkbookUnreadable), "{count}");
    }
    let deep = sheet(&format!("{}{}", "<g>".repeat(300), "</g>".repeat(300)));
    assert_eq!(read(&book(&[deep]), limits), Err(ErrorCode::WorkbookUnreadable));
    let elsewhere = ("xl/media/image1.png", "<worksheet><sheetData/></worksheet>".to_owned());
    assert_eq!(read(&book(&[few, elsewhere]), limits), Err(ErrorCode::WorkbookUnreadable));
}

#[test]
fn a_damaged_book_is_an_error_and_no_panic() {
    let whole = book(&[sheet(&format!("<row r=\"1\">{}</row>", cell("A1", "a")))]);
    for length in 0..whole.len() {
        assert!(read(&whole[..length], BookLimits::default()).is_err(), "cut at {length}");
    }
    for rows in
        ["<row r=\"0\"><c r=\"A0\"/></row>", "<row r=\"9\"><c r=\"ZZZZZ9\"><v>1</v></c></row>", "<row"]
    {
        let bytes = book(&[sheet(rows)]);
        let _ = read(&bytes, BookLimits::default());
    }
    let backwards = format!("<row r=\"3\">{}</row><row r=\"2\">{}</row>", cell("A3", "a"), cell("A2", "b"));
    let twice = format!("<row r=\"1\">{}{}</row>", cell("A1", "a"), cell("A1", "b"));
    for rows in [backwards, twice] {
        assert_eq!(read(&book(&[sheet(&rows)]), BookLimits::default()), Err(ErrorCode::WorkbookUnreadable));
    }
}
