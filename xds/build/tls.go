package build

import (
	"errors"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/wellknown"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// buildSecrets are resources of their own, which listeners and clusters name: a renewed
// certificate changes neither, so that no connection ends for it.
func buildSecrets(secrets map[string]*secret.Secret) map[string]types.Resource {
	out := make(map[string]types.Resource, len(secrets))
	for name, s := range secrets {
		out[name] = buildSecret(name, s)
	}
	return out
}

func buildSecret(name string, s *secret.Secret) *tlsv3.Secret {
	if s.Key() == nil {
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(s.Certificates()),
		}}}
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(s.Certificates()), PrivateKey: inline(s.Key()),
	}}}
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(pem)}}
}

func sdsSecret(r secret.Ref) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: r.Name(), SdsConfig: adsSource()}
}

// tlsVersions are set, since Envoy by itself speaks no more than 1.2 with pods.
func tlsVersions() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
}

// podSocket speaks TLS with pods that show a certificate of the authorities' for the
// service's name: a certificate alone would let every other server of the authorities
// pass for a pod. What is spoken inside, ALPN, follows the cluster's protocol.
func podSocket(t statefulroute.PodTLS) (*corev3.TransportSocket, error) {
	common := &tlsv3.CommonTlsContext{
		TlsParams: tlsVersions(),
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
					SanType: tlsv3.SubjectAltNameMatcher_DNS,
					Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: t.ServerName}},
				}}},
				ValidationContextSdsSecretConfig: sdsSecret(secret.Authorities(t)),
			},
		},
	}
	if client, ok := secret.Client(t); ok {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sdsSecret(client)}
	}
	return transportSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: t.ServerName})
}

// certifiedChains choose a certificate by the name that a client asks for (SNI). All lead
// to the same routes: a browser that sends requests for several hosts on one connection
// (HTTP/2) has each of them served. Who asks for no name, or for one that no certificate
// is for, is shown the one without hosts or, without such, the first.
func certifiedChains(certificates []statefulroute.Certificate, filters []*listenerv3.Filter) ([]*listenerv3.FilterChain, error) {
	if len(certificates) == 0 {
		return nil, errors.New("TLS is spoken, but there is no certificate")
	}
	var out []*listenerv3.FilterChain
	rest := 0
	for i, c := range certificates {
		if len(c.Hosts) == 0 {
			rest = i
			continue
		}
		chain, err := certifiedChain(c, filters)
		if err != nil {
			return nil, err
		}
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: c.Hosts}
		out = append(out, chain)
	}
	last, err := certifiedChain(certificates[rest], filters)
	if err != nil {
		return nil, err
	}
	return append(out, last), nil
}

func certifiedChain(c statefulroute.Certificate, filters []*listenerv3.Filter) (*listenerv3.FilterChain, error) {
	socket, err := transportSocket(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams:                      tlsVersions(),
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sdsSecret(secret.Server(c))},
		AlpnProtocols:                  []string{"h2", "http/1.1"},
	}})
	if err != nil {
		return nil, err
	}
	return &listenerv3.FilterChain{TransportSocket: socket, Filters: filters}, nil
}

func transportSocket(context proto.Message) (*corev3.TransportSocket, error) {
	typed, err := toAny(context)
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{Name: wellknown.TransportSocketTLS, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed}}, nil
}
