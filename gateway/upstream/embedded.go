package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver registers its name
	"github.com/sirupsen/logrus"
)

// NewEmbedded returns a registry in this process: distribution v3 with its files under directory, which is made when it
// is missing. It listens nowhere; what comes to it comes through the gateway. Deleting is enabled there, because whether
// it is allowed is for the gateway to say. The caller closes it. Two of them must not share a directory at a time.
func NewEmbedded(name, prefix, directory string) (*Registry, error) {
	if err := checkNames(name, prefix); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("registry %s: %w", name, err)
	}
	quiet()
	app, err := newApp(directory)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", name, err)
	}
	transport := &handlerTransport{handler: app}
	return &Registry{
		name: name, prefix: prefix, origin: &url.URL{Scheme: "http", Host: "embedded"},
		reads: transport, writes: transport, storage: nowhere{},
		referrers: referrersMemory{never: true}, // distribution v3 has no referrers API
		directory: directory,
		close: func() error {
			return errors.Join(transport.wait(closeTimeout), app.Shutdown())
		},
	}, nil
}

// newApp configures distribution as its own YAML would; its constructor reports by panic what is wrong with that.
func newApp(directory string) (app *handlers.App, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("set up distribution: %v", p)
		}
	}()
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": directory},
			"delete":     {"enabled": true},
			"redirect":   {"disable": true},
			"maintenance": {"uploadpurging": map[any]any{
				"enabled": true, "age": "168h", "interval": "24h", "dryrun": false,
			}},
		},
	}
	config.HTTP.RelativeURLs = true
	config.HTTP.Secret = rand.Text() // signs the state of uploads; those under way end with the process
	config.Catalog.MaxEntries = 10_000
	return handlers.NewApp(context.Background(), config), nil
}

// quiet ends distribution's own log, whose level and output are the process's: it writes a line for each request and calls
// a 404 an error. What goes wrong reaches us as an answer, and our log has it from there.
func quiet() {
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.SetOutput(io.Discard)
}

// nowhere is where the embedded registry's blobs may be redirected to.
type nowhere struct{}

func (nowhere) RoundTrip(req *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("the embedded registry redirects nowhere, not to %s", req.URL.Host)
}
