package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// checkUnambiguous reads the document token by token and refuses what two JSON readers could read differently.
func checkUnambiguous(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	if bytes.ContainsRune(raw, 0) || bytes.HasPrefix(raw, []byte("\ufeff")) {
		return errors.New("holds a NUL or a byte order mark")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return endless(err)
	}
	if first != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := checkObject(d, false, 1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// spelling maps each key that readers of manifests look for, folded to lower case, to its one spelling. encoding/json would
// take "Layers" for "layers", others would not.
var spelling = func() map[string]string {
	keys := map[string]string{}
	for _, key := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations",
		"digest", "size", "urls", "data", "platform", "architecture", "os", "os.version", "os.features", "variant",
		"fsLayers", "history", "signatures", "blobs",
	} {
		keys[fold(key)] = key
	}
	return keys
}()

// fold is how encoding/json compares keys: Unicode's simple folding, where the long s and the Kelvin sign are letters too.
func fold(key string) string {
	return strings.ToLower(strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(key))
}

func misspelled(key string) bool {
	right, known := spelling[fold(key)]
	return known && key != right
}

// checkObject reads an object behind its opening brace. Under annotations any key goes, but none twice.
func checkObject(d *json.Decoder, free bool, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return endless(err)
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("key %v is not a string", token)
		}
		if seen[key] {
			return fmt.Errorf("key %.100q is there twice", key)
		}
		seen[key] = true
		if !free && misspelled(key) {
			return fmt.Errorf("key %.100q differs from a known key in case only", key)
		}
		if err := checkValue(d, key == "annotations", depth); err != nil {
			return err
		}
	}
	_, err := d.Token() // the closing brace
	return endless(err)
}

func checkValue(d *json.Decoder, free bool, depth int) error {
	token, err := d.Token()
	if err != nil {
		return endless(err)
	}
	switch token {
	case json.Delim('{'):
		return checkObject(d, free, depth+1)
	case json.Delim('['):
		if depth+1 > MaxDepth {
			return fmt.Errorf("nested deeper than %d", MaxDepth)
		}
		for d.More() {
			if err := checkValue(d, false, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token() // the closing bracket
		return endless(err)
	}
	return nil
}

// endless names a document that stops too early for what it is.
func endless(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
