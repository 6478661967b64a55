# Where things go when they are installed; debian/ makes a package of it.
include(GNUInstallDirs)
set(APIKEYD_UNIT_DIR lib/systemd/system CACHE STRING "Where systemd units go")
install(TARGETS apikeyd DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS apikeyctl DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES config/apikeyd.conf DESTINATION ${CMAKE_INSTALL_SYSCONFDIR}/apikeyd)
install(FILES systemd/apikeyd.service systemd/apikeyd.socket systemd/apikeyd-admin.socket
              systemd/apikeyd-http.socket
        DESTINATION ${APIKEYD_UNIT_DIR})
install(FILES systemd/apikeyd.sysusers DESTINATION lib/sysusers.d RENAME apikeyd.conf)
install(FILES systemd/apikeyd.tmpfiles DESTINATION lib/tmpfiles.d RENAME apikeyd.conf)
install(FILES docs/man/apikeyctl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/apikeyd.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES docs/man/apikeyd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES ctl/apikeyctl.bash RENAME apikeyctl
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(DIRECTORY migrations DESTINATION ${CMAKE_INSTALL_DATADIR}/apikeyd)
# In their places, so that the links from one to another lead somewhere.
install(FILES README.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR}
        PATTERN "*.py" EXCLUDE PATTERN "*.json" EXCLUDE PATTERN __pycache__ EXCLUDE)
install(DIRECTORY config DESTINATION ${CMAKE_INSTALL_DOCDIR})
