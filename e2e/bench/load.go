package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// load sends a fixed number of GETs over a few connections that stay open, one request after the other on each, and returns
// how many bytes of bodies came. It writes the same bytes again and again, so that the load takes less of the machine than
// what it loads. An answer with another status than 200 is an error.
func load(ctx context.Context, address, path string, connections, count int) (int64, error) {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", path, address)
	var left, total atomic.Int64
	left.Store(int64(count))
	group, ctx := errgroup.WithContext(ctx)
	for range connections {
		group.Go(func() error {
			c, err := dial(ctx, address)
			if err != nil {
				return err
			}
			defer c.Close()
			for left.Add(-1) >= 0 {
				n, err := c.exchange(request, http.StatusOK)
				if err != nil {
					return fmt.Errorf("GET %s: %w", path, err)
				}
				total.Add(n)
			}
			return nil
		})
	}
	err := group.Wait()
	return total.Load(), err
}

// connection is one that stays open.
type connection struct {
	net.Conn
	read   *bufio.Reader
	buffer []byte
	stop   func() bool
}

func dial(ctx context.Context, address string) (*connection, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return &connection{Conn: conn, read: bufio.NewReaderSize(conn, 4<<10), buffer: make([]byte, 256<<10), stop: stop}, nil
}

func (c *connection) Close() error {
	c.stop()
	return c.Conn.Close()
}

// exchange sends a request and reads its answer to the end.
func (c *connection) exchange(request []byte, want int) (int64, error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return 0, fmt.Errorf("status %d, want %d: %s", response.StatusCode, want, text)
	}
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, c.buffer)
}

// upload pushes one blob in one piece, as docker and containerd do: POST for a place, PUT with the content.
func upload(ctx context.Context, client *http.Client, url, repo, digest string, content []byte) error {
	start, err := send(ctx, client, http.MethodPost, url+"/v2/"+repo+"/blobs/uploads/", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	place := start.Get("Location")
	if place == "" {
		return errors.New("POST of an upload: no Location")
	}
	if strings.HasPrefix(place, "/") {
		place = url + place
	}
	separator := "?"
	if strings.Contains(place, "?") {
		separator = "&"
	}
	_, err = send(ctx, client, http.MethodPut, place+separator+"digest="+digest, content, http.StatusCreated)
	return err
}

func send(ctx context.Context, client *http.Client, method, url string, content []byte, want int) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	if response.StatusCode != want {
		return nil, fmt.Errorf("%s: status %d, want %d: %s", method, response.StatusCode, want, text)
	}
	return response.Header, nil
}
