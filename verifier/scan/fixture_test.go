package scan

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

func TestMain(m *testing.M) {
	ServeChild()
	os.Exit(m.Run())
}

// imageOf makes an image whose one layer holds one file.
func imageOf(t testing.TB, blobs scantest.Blobs, content string) Image {
	t.Helper()
	return Image{Repo: "prod/app", Manifest: blobs.Image(t, map[string]string{"word": content})}
}

func workplace(t testing.TB) *Workplace {
	t.Helper()
	w, err := OpenWorkplace(filepath.Join(t.TempDir(), "scan"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(w.dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return w
}
