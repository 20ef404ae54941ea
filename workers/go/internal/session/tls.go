package session

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
)

// tlsConfig returns how certificates of servers are verified.
func tlsConfig(config Config) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if config.CertificateAuthority == "" {
		return settings, nil
	}
	data, err := os.ReadFile(config.CertificateAuthority)
	if err != nil {
		return nil, err
	}
	settings.RootCAs = x509.NewCertPool()
	if !settings.RootCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate (PEM)", config.CertificateAuthority)
	}
	return settings, nil
}

// httpClient returns a client of its own for each session: no connection is shared, and no proxy is used.
func httpClient(config Config) (*http.Client, error) {
	settings, err := tlsConfig(config)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: settings}}, nil
}
