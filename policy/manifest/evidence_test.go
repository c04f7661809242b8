package manifest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// archive makes a tar archive of one file.
func archive(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if _, more := io.WriteString(w, content); err != nil || more != nil {
		t.Fatal(err, more)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// textualArchive makes a tar archive whose header is text from end to end, and looks like JSON: every field is padded with
// spaces in place of NULs, and the names reach to the ends of theirs.
func textualArchive(content string) []byte {
	field := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }
	long := func(s string, n int) string { return s + strings.Repeat("x", n-len(s)) }
	header := []byte(long(`{"payloadType":"`, 100) + field("0000755", 8) + field("0000000", 8) + field("0000000", 8) +
		field(fmt.Sprintf("%011o", len(content)), 12) + field("00000000000", 12) + field("", 8) + "0" + long("", 100) + field("", 255))
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%07o", sum))
	return append(header, content...)
}

func compressed(t testing.TB, raw []byte) map[string][]byte {
	t.Helper()
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"gzip":                        gz.Bytes(),
		"bzip2":                       append([]byte("BZh91AY&SY"), strings.Repeat("x", 1000)...),
		"xz":                          append([]byte("\xfd7zXZ\x00"), raw...),
		"zstd":                        append([]byte("\x28\xb5\x2f\xfd"), raw...),
		"zstd behind a frame to skip": append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00{\"a\"\x28\xb5\x2f\xfd"), raw...),
	}
}

func TestALayerInDisguiseIsNoText(t *testing.T) {
	elf := "\x7fELF\x02\x01\x01\x00" + strings.Repeat("\x00", 8)
	plain := archive(t, `{"payload":"`, elf)
	textual := textualArchive(elf)
	if header, err := tar.NewReader(bytes.NewReader(textual)).Next(); err != nil || !strings.HasPrefix(header.Name, `{"payloadType"`) {
		t.Fatalf("the archive of text is no archive: %+v, %v", header, err)
	}

	disguised := compressed(t, plain)
	disguised["tar"], disguised["tar of text"] = plain, textual
	disguised["an executable"], disguised["nothing"] = []byte(elf), nil
	disguised["a NUL behind JSON"] = []byte("{}\x00")
	disguised["UTF-16"] = []byte("{\x00}\x00")
	disguised["half a rune at the end"] = []byte("{\"a\":\"\xe2\x82")
	disguised["half a rune inside"] = []byte(strings.Repeat("x", 200) + "\xe2\x82" + strings.Repeat("x", 400))
	for name, raw := range disguised {
		if err := CheckText(raw); err == nil {
			t.Errorf("%s: %.40q passes for text", name, raw)
		}
		if err := CheckText(raw[:min(len(raw), TextHead)]); err == nil {
			t.Errorf("%s: the head of %.40q passes for text", name, raw)
		}
	}
}

func TestEvidenceIsText(t *testing.T) {
	for name, raw := range map[string]string{
		"a payload":                `{"critical":{"identity":{"docker-reference":"r/a"}},"optional":null}`,
		"an envelope":              `{"payloadType":"application/vnd.in-toto+json","payload":"` + strings.Repeat("QUJD", 1000) + `","signatures":[]}`,
		"indented JSON":            "{\r\n\t\"a\": 1\n}\n",
		"XML":                      `<?xml version="1.0" encoding="UTF-8"?><bom/>`,
		"XML behind a mark":        "\ufeff<bom/>",
		"tag-value":                "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n",
		"a rune across the bound":  strings.Repeat("x", TextHead-1) + "€" + strings.Repeat("x", 100),
		"a rune up to the bound":   strings.Repeat("x", TextHead-3) + "€",
		"exactly the head":         strings.Repeat("x", TextHead),
		"digits where tar has sum": strings.Repeat("7", 2*TextHead),
		"spaces":                   strings.Repeat(" ", 2*TextHead),
	} {
		if err := CheckText([]byte(raw)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := CheckText([]byte(raw)[:min(len(raw), TextHead)]); err != nil {
			t.Errorf("the head of %s: %v", name, err)
		}
	}
}

// What passes for text is nothing that a tar reader or a decompressor begins to read.
func FuzzCheckText(f *testing.F) {
	f.Add([]byte(`{"a":"b"}`))
	f.Add(textualArchive("#!/bin/sh\n"))
	f.Add(archive(f, "a", "b"))
	for _, raw := range compressed(f, archive(f, "a", "b")) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if CheckText(raw) != nil {
			return
		}
		if header, err := tar.NewReader(bytes.NewReader(raw)).Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.600q passes for text and is a tar archive of %+v", raw, header)
		}
		if _, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
			t.Errorf("%q passes for text and is compressed", raw)
		}
	})
}
