/*!40101 SET NAMES utf8mb4 */;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `a_b` BEFORE INSERT ON `a` FOR EACH ROW SET NEW.x = 1 */;
--no space, but nothing is pending
SELECT 5--1;
SELECT /*+ MAX_EXECUTION_TIME(1000) */ 1 # trailing; comment
;
SELECT 1 /* inner; 'comment' */ + 2 -- and; this
;
SELECT "a;b", 'c\';d', `e;f`, 'g'';h', \N;
/* only a comment; */
-- only a comment;
# only a comment;
SELECT 1 + \
2;
/*M!100100 SET @x = 1 */;
SELECT 1 /*! + 1; SELECT 2 */;
