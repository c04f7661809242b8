package manifest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestThreat014_SizesArePlainWholeNumbers(t *testing.T) {
	size := fmt.Sprintf(`"size":%d`, len("layer"))
	for _, bad := range []string{
		"-1", "9223372036854775808", "18446744073709551615", "1e3", "1E0", "5.0", "0.5", `"5"`, "null5", "true", "{}", "[5]",
		"05", "+5", "0x5", "1_0", "٥", "NaN", "Infinity", "-9223372036854775808", "1" + strings.Repeat("0", 400),
	} {
		if m, err := Parse([]byte(image(config, replace(layer, size, `"size":`+bad), "")), imageType); !errors.Is(err, ErrInvalid) {
			t.Errorf("size %s: got %+v, %v", bad, m, err)
		}
	}
	m := accept(t, image(config, replace(layer, size, `"size":9223372036854775807`), ""), imageType)
	if m.Layers[0].Size != 9223372036854775807 {
		t.Errorf("got %d", m.Layers[0].Size)
	}
	for _, bad := range []string{"1", "3", "2.0", `"2"`, "null", "2e0", "-2"} {
		if m, err := Parse([]byte(replace(plainImage, `"schemaVersion":2`, `"schemaVersion":`+bad)), imageType); !errors.Is(err, ErrInvalid) {
			t.Errorf("schemaVersion %s: got %+v, %v", bad, m, err)
		}
	}
	refuse(t, imageType, map[string]string{"none: schemaVersion 0": replace(plainImage, `"schemaVersion":2,`, "")})
}

func TestThreat021_EveryDescriptorHasASizeATypeAndADigest(t *testing.T) {
	for where, at := range map[string]func(string) (raw, contentType string){
		"config":   func(d string) (string, string) { return image(d, layer, ""), imageType },
		"layer":    func(d string) (string, string) { return image(config, d, ""), imageType },
		"manifest": func(d string) (string, string) { return index(d, ""), indexType },
		"subject":  func(d string) (string, string) { return image(config, layer, `,"subject":`+d), imageType },
		"of index": func(d string) (string, string) { return index(child, `,"subject":`+d), indexType },
	} {
		good := desc("application/x", "content", "")
		raw, contentType := at(good)
		accept(t, raw, contentType)
		for what, bad := range map[string]string{
			"negative size":    replace(good, `"size":7`, `"size":-1`),
			"no type":          replace(good, `"mediaType":"application/x",`, ""),
			"an empty type":    replace(good, "application/x", ""),
			"a long type":      replace(good, "application/x", strings.Repeat("x", MaxMediaType+1)),
			"no digest":        replace(good, `"digest":"`+digest.FromString("content").String()+`",`, ""),
			"an empty digest":  replace(good, digest.FromString("content").String(), ""),
			"an upper digest":  replace(good, digest.FromString("content").Encoded(), strings.ToUpper(digest.FromString("content").Encoded())),
			"a path as digest": replace(good, digest.FromString("content").Encoded(), "../../../etc/passwd"),
			"nothing":          `{}`,
			"null":             `null`,
		} {
			raw, contentType := at(bad)
			if m, err := Parse([]byte(raw), contentType); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s with %s: got %+v, %v", where, what, m, err)
			}
		}
		raw, contentType = at(replace(good, "application/x", strings.Repeat("x", MaxMediaType)))
		accept(t, raw, contentType)
	}
}

func TestThreat022_EmbeddedDataIsWhatTheDigestSays(t *testing.T) {
	data := func(s string) string { return `,"data":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"` }
	m := accept(t, image(config, desc(layerType, "layer", data("layer")), ""), imageType)
	if string(m.Layers[0].Data) != "layer" {
		t.Errorf("got %q", m.Layers[0].Data)
	}
	long := strings.Replace(desc(layerType, "layer", data("layer")), digest.FromString("layer").String(), digest.SHA512.FromString("layer").String(), 1)
	accept(t, image(config, long, ""), imageType)
	refuse(t, imageType, map[string]string{
		"other data: data is not":            image(config, desc(layerType, "layer", data("LAYER")), ""),
		"longer data: data is not":           image(config, desc(layerType, "layer", data("layer ")), ""),
		"no data at all: data is not":        image(config, desc(layerType, "layer", `,"data":""`), ""),
		"in the config: config":              image(desc(configType, "config", data("CONFIG")), layer, ""),
		"in the subject: subject":            image(config, layer, `,"subject":`+desc(imageType, "s", data("t"))),
		"not base64: illegal base64":         image(config, desc(layerType, "layer", `,"data":"*"`), ""),
		"under another sha512: data is not":  image(config, replace(long, base64.StdEncoding.EncodeToString([]byte("layer")), "TEFZRVI="), ""),
		"half of the data: illegal base64 d": image(config, desc(layerType, "layer", `,"data":"bGF5ZXI"`), ""),
	})
}

func TestThreat023_ContentFromElsewhereIsRefused(t *testing.T) {
	foreign := `,"urls":["https://example.com/layer"]`
	refuse(t, imageType, map[string]string{
		"a foreign layer: elsewhere":            image(config, desc("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "layer", foreign), ""),
		"an OCI layer: elsewhere":               image(config, desc(layerType, "layer", foreign), ""),
		"a config: elsewhere":                   image(desc(configType, "config", foreign), layer, ""),
		"a text for a list: cannot unmarshal":   image(config, desc(layerType, "layer", `,"urls":"https://example.com"`), ""),
		"an empty address among them: elsewher": image(config, desc(layerType, "layer", `,"urls":[""]`), ""),
	})
	refuse(t, indexType, map[string]string{"a manifest: elsewhere": index(desc(imageType, "child", foreign), "")})
	accept(t, image(config, desc(layerType, "layer", `,"urls":[]`), ""), imageType)
}

func TestThreat029_ADigestOfAnotherAlgorithmChangesNothing(t *testing.T) {
	long := digest.SHA512.FromString("layer").String()
	m := accept(t, image(config, replace(layer, digest.FromString("layer").String(), long), ""), imageType)
	if m.Layers[0].Digest.String() != long {
		t.Errorf("got %s, want %s", m.Layers[0].Digest, long)
	}
	if m.Digest.Algorithm() != digest.SHA256 {
		t.Errorf("the manifest's own digest is %s, want sha256 whatever it lists", m.Digest)
	}
}

func TestThreat030_DigestsAreWrittenInOneWay(t *testing.T) {
	short, long := strings.Repeat("0f", 32), strings.Repeat("0f", 64)
	for _, good := range []string{"sha256:" + short, "sha512:" + long} {
		if err := CheckDigest(digest.Digest(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ":", "sha256", "sha256:", short, "sha256:" + short[1:], "sha256:" + short + "0", "sha256:" + long, "sha512:" + short,
		"sha256:" + strings.ToUpper(short), "SHA256:" + short, "sha256:" + strings.Repeat("0g", 32), "sha384:" + strings.Repeat("0f", 48),
		"md5:" + short[:32], "sha1:" + short[:40], "sha256+b64:" + short, "sha256:" + short[:62] + "..", "sha256:" + short[:61] + "/..",
		"sha256:sha256:" + short[7:], " sha256:" + short, "sha256: " + short[1:], "sha256:" + short + "\n", "sha256:" + short[1:] + "\x00",
		"sha256:" + strings.Repeat("\u0660", 32), "blake3:" + short, "sha256-" + short, "sha256:" + strings.Repeat("é", 32), strings.Repeat("x", 1<<20),
	} {
		err := CheckDigest(digest.Digest(bad))
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.100q: got %v", bad, err)
		}
	}
}
