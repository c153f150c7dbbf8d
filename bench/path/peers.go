package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// haproxyText is HAProxy's configuration with one thread; more goes into the backend.
func haproxyText(addresses [3]string, pods []string, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend bench
  bind %s
  bind %s proto h2
  default_backend pods
backend pods
  balance roundrobin
%s`, addresses[1], addresses[2], more)
	for i, p := range pods {
		fmt.Fprintf(&b, "  server %s%d %s\n", podPrefix, i, p)
	}
	return b.String()
}

// stickTable keeps sessions as HAProxy's users do; its keys are cut at 32 characters unless it is told.
const stickTable = `  stick-table type string len 64 size 2m expire 1h
  stick on req.hdr(x-session-id)
`

func haproxy(more string) starter {
	return peer("haproxy", func(f *front, b *bench) (string, error) {
		return b.write(f, "haproxy.cfg", haproxyText(f.addresses, f.pods, more))
	}, "-db", "-f")
}

// nginxText is nginx's configuration with one worker, a consistent hash of the header and
// connections that are kept.
func nginxText(addresses [3]string, pods []string, dir string) string {
	var servers strings.Builder
	for _, p := range pods {
		fmt.Fprintf(&servers, "    server %s;\n", p)
	}
	return fmt.Sprintf(`daemon off;
master_process off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/nginx-body;
  proxy_temp_path %[1]s/nginx-proxy;
  fastcgi_temp_path %[1]s/nginx-fastcgi;
  uwsgi_temp_path %[1]s/nginx-uwsgi;
  scgi_temp_path %[1]s/nginx-scgi;
  upstream pods {
    hash $http_x_session_id consistent;
%[4]s    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen %[2]s;
    listen %[3]s http2;
    keepalive_requests 1000000000;
    location / {
      proxy_pass http://pods;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`, dir, addresses[1], addresses[2], servers.String())
}

func nginx() starter {
	return peer("nginx", func(f *front, b *bench) (string, error) {
		return b.write(f, "nginx.conf", nginxText(f.addresses, f.pods, b.dir))
	}, "-c")
}

// peer starts a program of the system with a configuration file.
func peer(program string, configure func(*front, *bench) (string, error), args ...string) starter {
	return func(_ context.Context, b *bench, f *front) error {
		path, err := lookPath(program)
		if err != nil {
			return err
		}
		addresses, err := freeAddresses(2)
		if err != nil {
			return err
		}
		f.addresses = [3]string{1: addresses[0], 2: addresses[1]}
		file, err := configure(f, b)
		if err != nil {
			return err
		}
		p, err := b.start(f.name, proxy, path, append(args, file)...)
		if err == nil {
			f.processes = append(f.processes, p)
		}
		return err
	}
}

// lookPath finds a program, also where Debian puts servers.
func lookPath(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w", program, errAbsent)
}
