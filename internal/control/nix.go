package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// NixStores is the answer to GET /v1/nix.
type NixStores struct {
	Stores []NixStore `json:"stores"`
}

// NixStore is one Nix store: that of a trust domain.
type NixStore struct {
	Name     string              `json:"name"`
	For      string              `json:"for"`               // who shares it: "project 42, protected refs"
	Runners  []string            `json:"runners,omitempty"` // the entries whose jobs have it, by name
	Engine   string              `json:"engine"`            // address
	Daemon   string              `json:"daemon"`            // "running", "stopped", or what is wrong with it
	Nix      string              `json:"nix,omitempty"`     // version, of a daemon that runs; as Sandbox, Why, Pins, Free and Total
	Sandbox  string              `json:"sandbox,omitempty"` // "on" or "off"
	Why      string              `json:"why,omitempty"`     // the sandbox is off
	Jobs     int                 `json:"jobs"`              // that have it now
	All      NixShare            `json:"all"`               // where the daemon does not run, as it was last; as the next three
	Held     NixShare            `json:"held"`              // by jobs, pins and open connections
	Recent   NixShare            `json:"recent"`            // held by nothing, and jobs have used it
	Unused   NixShare            `json:"unused"`            // held by nothing, and no job has used it
	Pins     map[string]NixShare `json:"pins,omitempty"`
	Free     int64               `json:"free"`  // bytes of the file system
	Total    int64               `json:"total"` // likewise
	LastUsed time.Time           `json:"last_used,omitzero"`
}

// NixShare is a part of a store.
type NixShare struct {
	Paths int   `json:"paths"`
	Bytes int64 `json:"bytes"`
}

// NixPaths is the answer to GET /v1/nix/{store}/paths.
type NixPaths struct {
	Paths []NixPath `json:"paths"`
}

// NixPath is one path of a store.
type NixPath struct {
	Path  string   `json:"path"`
	Bytes int64    `json:"bytes"`
	Roots []string `json:"roots,omitempty"` // what holds it directly: "job:ID", "pin:NAME", "recent:HOUR"
}

// NixCollection says what to delete. What it does not say is as the configuration has it.
type NixCollection struct {
	KeepFor     *time.Duration `json:"keep_for,omitempty"`
	FreeBytes   int64          `json:"free_bytes,omitempty"`   // at least so much is to be free at the end,
	FreePercent float64        `json:"free_percent,omitempty"` // or such a share
	MaxFreed    int64          `json:"max_freed,omitempty"`    // end when so much has been deleted
	DryRun      bool           `json:"dry_run,omitempty"`
}

// NixCollected is what a collection has deleted, or would.
type NixCollected struct {
	Store string   `json:"store"`
	Count int      `json:"count"`
	Paths []string `json:"paths"` // the first of them
	Bytes int64    `json:"bytes"`
	Kept  int      `json:"kept,omitempty"` // that were to be deleted, and came to life meanwhile
	Free  int64    `json:"free"`           // bytes of the file system, at the end
}

// NixPins is what is told to POST /v1/nix/{store}/pins/{name}, and the answer of it and of DELETE.
type NixPins struct {
	Paths []string `json:"paths"`
}

// Stores are the Nix stores that the socket serves. An error that wraps ErrNotFound is answered with 404.
type Stores interface {
	// Stat describes all, by name, and starts no daemon for it.
	Stat(ctx context.Context) []NixStore
	// Known is Stat without asking anything: what is known already, by name; what a daemon would have to say is missing.
	Known() []NixStore
	List(ctx context.Context, store string) ([]NixPath, error)
	// Collect goes on when ctx ends.
	Collect(ctx context.Context, store string, c NixCollection) (NixCollected, error)
	// Pin returns all paths of the name, Unpin those that it had.
	Pin(ctx context.Context, store, name string, paths []string) ([]string, error)
	Unpin(ctx context.Context, store, name string) ([]string, error)
}

// onlyKnown is a query's key that asks GET /v1/nix for Known. A runner that does not know it tells more, and takes longer.
const onlyKnown = "known"

// maxRequest bounds what is told of Nix stores, in bytes: arguments of a command line.
const maxRequest = 4 << 20

// routeNix adds the routes of s.
func routeNix(m *http.ServeMux, s Stores) {
	m.HandleFunc("GET /v1/nix", func(w http.ResponseWriter, r *http.Request) {
		stores := []NixStore{}
		if r.URL.Query().Has(onlyKnown) {
			stores = append(stores, s.Known()...)
		} else {
			stores = append(stores, s.Stat(r.Context())...)
		}
		reply(w, NixStores{Stores: stores}, nil)
	})
	m.HandleFunc("GET /v1/nix/{store}/paths", func(w http.ResponseWriter, r *http.Request) {
		paths, err := s.List(r.Context(), r.PathValue("store"))
		reply(w, NixPaths{Paths: append([]NixPath{}, paths...)}, err)
	})
	m.HandleFunc("POST /v1/nix/{store}/collect", func(w http.ResponseWriter, r *http.Request) {
		var c NixCollection
		err := readRequest(r, &c)
		var done NixCollected
		if err == nil {
			done, err = s.Collect(r.Context(), r.PathValue("store"), c)
		}
		reply(w, done, err)
	})
	m.HandleFunc("POST /v1/nix/{store}/pins/{name}", func(w http.ResponseWriter, r *http.Request) {
		var p NixPins
		err := readRequest(r, &p)
		if err == nil {
			p.Paths, err = s.Pin(r.Context(), r.PathValue("store"), r.PathValue("name"), p.Paths)
		}
		reply(w, p, err)
	})
	m.HandleFunc("DELETE /v1/nix/{store}/pins/{name}", func(w http.ResponseWriter, r *http.Request) {
		paths, err := s.Unpin(r.Context(), r.PathValue("store"), r.PathValue("name"))
		reply(w, NixPins{Paths: paths}, err)
	})
}

func readRequest(r *http.Request, v any) error {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err == nil && len(raw) > maxRequest {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone
}

func nixPath(store, rest string) string { return "/v1/nix/" + url.PathEscape(store) + rest }

// ask sends a request with a body, unless that is nil, and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, request, answer any) error {
	var sent io.ReadCloser
	if request != nil {
		raw, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("ask the runner: %w", err)
		}
		sent = io.NopCloser(bytes.NewReader(raw))
	}
	res, err := c.do(ctx, method, path, sent)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("the runner's answer: %w", err)
	}
	return nil
}

// NixStores describes the runner's Nix stores.
func (c *Client) NixStores(ctx context.Context) ([]NixStore, error) {
	var s NixStores
	err := c.ask(ctx, http.MethodGet, "/v1/nix", nil, &s)
	return s.Stores, err
}

// NixKnown is what the runner knows of its Nix stores without asking them: their names above all.
func (c *Client) NixKnown(ctx context.Context) ([]NixStore, error) {
	var s NixStores
	err := c.ask(ctx, http.MethodGet, "/v1/nix?"+onlyKnown, nil, &s)
	return s.Stores, err
}

// NixPaths lists the paths of a store.
func (c *Client) NixPaths(ctx context.Context, store string) ([]NixPath, error) {
	var p NixPaths
	err := c.ask(ctx, http.MethodGet, nixPath(store, "/paths"), nil, &p)
	return p.Paths, err
}

// NixCollect collects what nothing holds in a store.
func (c *Client) NixCollect(ctx context.Context, store string, what NixCollection) (NixCollected, error) {
	var done NixCollected
	err := c.ask(ctx, http.MethodPost, nixPath(store, "/collect"), what, &done)
	return done, err
}

// NixPin keeps paths of a store under a name, and returns all of that name's.
func (c *Client) NixPin(ctx context.Context, store, name string, paths []string) ([]string, error) {
	var p NixPins
	err := c.ask(ctx, http.MethodPost, nixPath(store, "/pins/"+url.PathEscape(name)), NixPins{Paths: paths}, &p)
	return p.Paths, err
}

// NixUnpin takes a name away, and returns its paths.
func (c *Client) NixUnpin(ctx context.Context, store, name string) ([]string, error) {
	var p NixPins
	err := c.ask(ctx, http.MethodDelete, nixPath(store, "/pins/"+url.PathEscape(name)), nil, &p)
	return p.Paths, err
}
