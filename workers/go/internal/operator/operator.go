// Package operator is the client of the operator's endpoints for workers: reports of attempts, and result keys.
package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"steno.dev/workers/internal/task"
)

const (
	reportPath = "/v1/attempts/reports"
	keyPath    = "/v1/result-keys"
	timeout    = 5 * time.Second
	maxAnswer  = 1 << 20
	keyBytes   = 32
)

// Report is the state of an attempt; the first one, without progress, asks whether it is still wanted.
type Report struct {
	Pool     task.Ref  `json:"pool"`
	Job      task.Ref  `json:"job"`
	Kind     string    `json:"kind"`
	Attempt  int       `json:"attempt"`
	Process  string    `json:"process"`
	Progress *Progress `json:"progress,omitempty"`
	Ended    *Ended    `json:"ended,omitempty"`
}

// Progress of an attempt.
type Progress struct {
	Stage   string `json:"stage"`
	Percent int    `json:"percent"`
	Pages   int    `json:"pages,omitempty"`
}

// Ended says how an attempt ended; without a result the message was given back.
type Ended struct {
	Result any  `json:"result,omitempty"`
	Used   Used `json:"used"`
}

// Used is the work that was done.
type Used struct {
	Pages int `json:"pages"`
}

// Answer of the operator to a report.
type Answer struct {
	Wanted   bool     `json:"wanted"`
	Recorded bool     `json:"recorded"`
	Keys     []string `json:"keys"`
}

// ErrNoKeys is the answer of an operator that does not know of such keys.
var ErrNoKeys = errors.New("the operator has no result keys")

// Client of one operator.
type Client struct {
	url, tokenFile string
	http           *http.Client
}

// New prepares requests.
func New(reporting *task.Reporting) (*Client, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if reporting.CA != "" {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM([]byte(reporting.CA)) {
			return nil, errors.New("reporting.ca has no certificate (PEM)")
		}
	}
	// Without a proxy of the environment: that is meant for sources outside the cluster, not for the operator.
	transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	client := &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: asItIs}
	return &Client{strings.TrimRight(reporting.URL, "/"), reporting.TokenFile, client}, nil
}

func asItIs(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send sends a report. An error means that it was lost.
func (client *Client) Send(ctx context.Context, report *Report) (*Answer, error) {
	answer := &Answer{Wanted: true}
	_, err := client.post(ctx, reportPath, report, answer)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// Keys returns the keys of a job of the pool, the one that makes proofs first. The error is ErrNoKeys if results are
// not proven at all.
func (client *Client) Keys(ctx context.Context, job, pool task.Ref) ([][]byte, error) {
	request := map[string]task.Ref{"resource": job, "pool": pool}
	answer := struct {
		Keys []string `json:"keys"`
	}{}
	status, err := client.post(ctx, keyPath, request, &answer)
	if status == http.StatusNotFound {
		return nil, ErrNoKeys
	}
	if err != nil {
		return nil, err
	}
	if len(answer.Keys) == 0 {
		return nil, ErrNoKeys
	}
	return ParseKeys(answer.Keys)
}

// ParseKeys reads keys of 32 bytes in hexadecimal digits.
func ParseKeys(texts []string) ([][]byte, error) {
	var keys [][]byte
	for _, text := range texts {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != keyBytes {
			return nil, errors.New("the operator's answer is not one that this version understands")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (client *Client) post(ctx context.Context, path string, content, answer any) (int, error) {
	body, err := json.Marshal(content)
	if err != nil {
		return 0, err
	}
	// Kubernetes replaces the token while we run, so it is read each time.
	token, err := os.ReadFile(client.tokenFile)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, client.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	response, err := client.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case response.StatusCode != http.StatusOK:
		return response.StatusCode, fmt.Errorf("the operator answered %d", response.StatusCode)
	case err != nil:
		return response.StatusCode, err
	case len(data) > maxAnswer:
		return response.StatusCode, fmt.Errorf("the operator's answer has more than %d bytes", maxAnswer)
	case json.Unmarshal(data, answer) != nil:
		return response.StatusCode, errors.New("the operator's answer is not one that this version understands")
	}
	return response.StatusCode, nil
}
