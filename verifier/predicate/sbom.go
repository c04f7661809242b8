package predicate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// Formats of a bill of materials, as [policy.SBOM] calls them.
const (
	spdx      = "spdx"
	cyclonedx = "cyclonedx"
)

func readSBOM(predicateType string, r io.Reader) (policy.Facts, error) {
	s := newStream(r, MaxBytes)
	sbom := policy.SBOM{Format: spdx}
	if strings.HasPrefix(predicateType, "https://cyclonedx.org/") {
		sbom.Format = cyclonedx
	}
	var created time.Time
	switch {
	case sbom.Format == cyclonedx:
		created = readCycloneDX(s, &sbom)
	case s.next() == '"':
		created = readWrapped(s, &sbom)
	default:
		created = readSPDX(s, &sbom)
	}
	if err := s.finish(); err != nil {
		return policy.Facts{}, err
	}
	return policy.Facts{Claimed: created, SBOM: &sbom}, nil
}

// CycloneDX 1.2 to 1.7: https://cyclonedx.org/specification/overview
var (
	cyclonedxFields    = fieldsOf("bomFormat!", "specVersion!", "metadata", "components")
	cyclonedxMetadata  = fieldsOf("timestamp", "component")
	cyclonedxName      = fieldsOf("name")
	cyclonedxComponent = fieldsOf("name!", "type", "components")
)

func readCycloneDX(s *stream, sbom *policy.SBOM) (created time.Time) {
	s.object(cyclonedxFields, func(key string) {
		switch key {
		case "bomFormat":
			if format := s.string(); format != "CycloneDX" {
				s.fail("bomFormat is %.40q", format)
			}
		case "specVersion":
			s.required(key)
		case "metadata":
			s.object(cyclonedxMetadata, func(key string) {
				if key == "timestamp" {
					readMoment(s, key, &created)
					return
				}
				s.object(cyclonedxName, func(string) { sbom.Name = s.string() })
			})
		case "components":
			readComponents(s, sbom)
		}
	})
	return created
}

func readComponents(s *stream, sbom *policy.SBOM) {
	s.array(func() {
		kind := ""
		s.object(cyclonedxComponent, func(key string) {
			switch key {
			case "name":
				s.required("a component's name")
			case "type":
				kind = s.string()
			default:
				readComponents(s, sbom)
			}
		})
		if kind != "operating-system" && kind != "file" { // what a package lies in is no package
			sbom.Packages++
		}
	})
}

// SPDX 2.2 and 2.3 as JSON (https://spdx.github.io/spdx-spec/v2.3), and SPDX 3 as JSON-LD with its elements in a graph.
var (
	spdxFields   = fieldsOf("spdxVersion", "name", "creationInfo", "packages", "@graph")
	spdxCreation = fieldsOf("created")
	spdxPackage  = fieldsOf("primaryPackagePurpose")
	spdxElement  = fieldsOf("type", "@type", "created", "name", "software_primaryPurpose")
)

// isPackage reports that something of this purpose is a package, and not what packages lie in. SPDX 3 spells purposes otherwise.
func isPackage(purpose string) bool {
	switch strings.ToUpper(purpose) {
	case "CONTAINER", "OPERATING-SYSTEM", "OPERATINGSYSTEM", "FILE":
		return false
	}
	return true
}

func readSPDX(s *stream, sbom *policy.SBOM) (created time.Time) {
	versions, packages, graphs := 0, 0, 0
	s.object(spdxFields, func(key string) {
		switch key {
		case "spdxVersion":
			versions++
			if version := s.string(); !strings.HasPrefix(version, "SPDX-2.") {
				s.fail("spdxVersion is %.40q", version)
			}
		case "name":
			sbom.Name = s.required(key)
		case "creationInfo":
			s.object(spdxCreation, func(key string) { readMoment(s, key, &created) })
		case "packages":
			packages++
			s.array(func() {
				purpose := ""
				s.object(spdxPackage, func(string) { purpose = s.string() })
				if isPackage(purpose) {
					sbom.Packages++
				}
			})
		case "@graph":
			graphs++
			s.array(func() { readElement(s, sbom, &created) })
		}
	})
	if versions+graphs != 1 || packages > versions {
		s.fail("an SPDX document with neither spdxVersion nor @graph, or with both")
	}
	return created
}

func readElement(s *stream, sbom *policy.SBOM, created *time.Time) {
	var kind, name, purpose string
	s.object(spdxElement, func(key string) {
		switch key {
		case "created":
			readMoment(s, key, created)
		case "name":
			name = s.string()
		case "software_primaryPurpose":
			purpose = s.string()
		default:
			kind = s.string()
		}
	})
	switch kind {
	case "software_Package":
		if isPackage(purpose) {
			sbom.Packages++
		}
	case "SpdxDocument":
		sbom.Name = name
	}
}

// readWrapped reads what `cosign attest --type spdx` makes of a file: the whole of it in one JSON string, be it tag-value
// text or JSON.
func readWrapped(s *stream, sbom *policy.SBOM) (created time.Time) {
	text := &textReader{s: s}
	s.at++ // the quote
	inside := bufio.NewReaderSize(text, bufferSize)
	first, err := firstByte(inside)
	switch {
	case err != nil:
		s.fail("a text in place of an SPDX document: %w", err)
	case first == '{':
		inner := newStream(inside, MaxBytes)
		created = readSPDX(inner, sbom)
		err = inner.finish()
	default:
		created, err = readTagValue(inside, sbom)
	}
	if err == nil && !text.ended {
		_, err = io.Copy(io.Discard, text)
	}
	if err != nil {
		s.fail("%w", err)
	}
	return created
}

func firstByte(r *bufio.Reader) (byte, error) {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, r.UnreadByte()
		}
	}
}

// readTagValue reads SPDX's other form: lines of a tag, a colon and a value, where a value may be <text>lines</text>.
// https://spdx.github.io/spdx-spec/v2.3/conformance
func readTagValue(r *bufio.Reader, sbom *policy.SBOM) (created time.Time, err error) {
	version, inText, counted := "", false, false
	for end := false; !end; {
		line, more, err := r.ReadLine()
		long := more
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return time.Time{}, err
		}
		end = err != nil
		if inText {
			inText = !bytes.Contains(line, []byte("</text>")) && !long
			continue
		}
		tag, value, ok := strings.Cut(string(line), ":")
		if !ok || long {
			continue
		}
		value = strings.TrimSpace(value)
		inText = strings.HasPrefix(value, "<text>") && !strings.Contains(value, "</text>")
		switch tag {
		case "SPDXVersion":
			if version != "" {
				return time.Time{}, errors.New("two times SPDXVersion")
			}
			version = value
		case "DocumentName":
			if len(value) > MaxText {
				return time.Time{}, fmt.Errorf("a text of more than %d bytes", MaxText)
			}
			sbom.Name = value
		case "PackageName":
			sbom.Packages++
			counted = true
		case "PrimaryPackagePurpose": // of the package above
			if counted && !isPackage(value) {
				sbom.Packages--
				counted = false
			}
		case "Created":
			if created, err = moment(value); err != nil {
				return time.Time{}, err
			}
		}
	}
	if !strings.HasPrefix(version, "SPDX-2.") {
		return time.Time{}, fmt.Errorf("SPDXVersion is %.40q", version)
	}
	return created, nil
}

// textReader reads the inside of a JSON string, its escapes resolved, up to the closing quote.
type textReader struct {
	s     *stream
	ended bool
	rest  []byte // of a character that did not fit
}

func (t *textReader) Read(p []byte) (int, error) {
	s := t.s
	for {
		if len(t.rest) > 0 {
			n := copy(p, t.rest)
			t.rest = t.rest[n:]
			return n, nil
		}
		if t.ended {
			return 0, io.EOF
		}
		if !s.more() {
			s.unexpected(0)
			return 0, s.err
		}
		if n := min(plain(s.buf[s.at:s.end]), len(p)); n > 0 {
			copy(p, s.buf[s.at:s.at+n])
			s.at += n
			return n, nil
		}
		switch c := s.buf[s.at]; c {
		case '"':
			s.at++
			t.ended = true
		case '\\':
			if err := t.escape(); err != nil {
				return 0, err
			}
		default:
			s.unexpected(c)
			return 0, s.err
		}
	}
}

// escape resolves one escape sequence, or the two of a surrogate pair.
func (t *textReader) escape() error {
	s := t.s
	s.text = s.text[:0]
	s.escape(true)
	if high := bytes.HasPrefix(s.text, []byte(`\u`)) && slices.Contains([]string{"d8", "d9", "da", "db"}, strings.ToLower(string(s.text[2:4]))); high && s.more() && s.buf[s.at] == '\\' {
		s.escape(true)
	}
	if s.err != nil {
		return s.err
	}
	text, err := unescape(s.text)
	if err != nil {
		s.fail("%w", err)
		return err
	}
	t.rest = append(t.rest[:0], text...)
	return nil
}
